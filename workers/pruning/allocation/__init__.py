"""How much of each matrix goes."""

from workers.pruning.allocation.budgets import allocate

__all__ = ["allocate"]
