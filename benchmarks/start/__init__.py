"""What the service adds to a small job on a warm worker."""
