"""A model as towers, blocks and matrices."""
