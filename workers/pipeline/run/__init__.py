"""A job from its model to its files."""
