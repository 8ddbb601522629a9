"""Takes whole parts out of a model: what is left is smaller, and its configuration says so."""
