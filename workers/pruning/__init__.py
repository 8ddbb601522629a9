"""The pruning library: torch, transformers and `app.domain` recipe types, nothing else."""

from workers.pruning.libraries import importable

importable()  # before transformers looks
