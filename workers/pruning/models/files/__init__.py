"""A model's weight files."""
