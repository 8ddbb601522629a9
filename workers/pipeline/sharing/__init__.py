"""One job's measurement on several workers."""
