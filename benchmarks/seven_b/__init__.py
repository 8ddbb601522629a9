"""A checkpoint of LLaVA-1.5-7B's shape, pruned under a memory limit."""
