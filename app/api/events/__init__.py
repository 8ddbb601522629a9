"""Event logs and streams."""
