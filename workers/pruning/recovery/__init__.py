"""Training what pruning has left."""
