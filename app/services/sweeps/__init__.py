"""Use cases of sweeps."""
