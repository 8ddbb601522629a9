"""What solving for the weights that stay gains."""
