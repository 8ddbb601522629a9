"""Model adapters: one family, one file."""
