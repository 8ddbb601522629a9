"""What each method leaves of a model: `make bench-quality`."""
