"""Proof that a change of the code's form changes no result."""
