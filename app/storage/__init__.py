"""Where published artifacts are kept."""
