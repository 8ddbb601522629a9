"""The Secateur service: HTTP API, use cases, database, storage, command line. Without torch."""
