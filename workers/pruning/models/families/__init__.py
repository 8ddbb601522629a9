"""One family, one file; every file here is registered by being here."""
