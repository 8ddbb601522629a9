"""Endpoints. A router function parses, calls one use case and answers."""
