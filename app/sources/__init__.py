"""Where models to prune come from: local directories and the hub."""
