"""ECoFLaP (Sung et al., ICLR 2024, arXiv 2310.02998): sparsity by how much the loss depends on it.

Stage 1 of the paper. `measure` scores every matrix, `share_out` turns scores into budgets; stage 2
is the engine's own sequential pass with any importance.
"""

from workers.pruning.allocation.ecoflap.measure import measure
from workers.pruning.allocation.ecoflap.share_out import SharedOut, share_out

__all__ = ["SharedOut", "measure", "share_out"]
