"""Faults of every kind on real processes."""
