"""Solving for the weights that stay."""
