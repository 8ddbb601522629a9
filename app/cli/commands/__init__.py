"""One group of commands a module."""
