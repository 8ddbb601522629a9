"""The pruning library: torch, transformers and `app.domain` recipe types, nothing else."""
