"""A process beside each child that ends it when its right to go on has ended."""
