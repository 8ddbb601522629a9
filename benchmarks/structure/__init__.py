"""What a smaller model keeps, and how much faster it is."""
