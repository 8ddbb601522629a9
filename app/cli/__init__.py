"""The `secateur` command."""
