"""Prunes a model by a recipe."""
