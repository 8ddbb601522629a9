"""For whoever runs the service, on the machine that runs it."""
