"""What an interrupted run continues from."""
