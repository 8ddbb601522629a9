"""What the choice of tokens gives and costs where pictures are many tokens."""
