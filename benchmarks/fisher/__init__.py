"""Second moments of inputs mixed with gradients, tried."""
