"""Reads a model's files without its weights: from a directory, the hub, or another job."""
