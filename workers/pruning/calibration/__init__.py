"""Activations, gradients and statistics of the calibration set."""
