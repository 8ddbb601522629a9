"""Exact choice of the weights that go."""
