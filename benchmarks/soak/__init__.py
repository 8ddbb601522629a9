"""The service under mixed load for a while: errors, latency, memory, connections."""
