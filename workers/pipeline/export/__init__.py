"""Files of the pruned model, and their verification."""
