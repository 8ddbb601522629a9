"""Logs, metrics and traces; what one process says about itself."""
