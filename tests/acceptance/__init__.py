"""A whole installation of real processes."""
