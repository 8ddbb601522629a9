"""How much the loss depends on a block: ECoFLaP's scores of its matrices, summed."""

from collections.abc import Callable, Collection, Sequence

from app.recipes.allocation import GradientNorm
from workers.pruning.allocation.ecoflap.measure import measure
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.resume import Checkpoints, PartOf


def gradient_norms(
    adapter: Adapter,
    blocks: Collection[Block],
    batches: Sequence[Batch],
    tick: Callable[[Block, int], None],
    checkpoints: Checkpoints,
) -> dict[Block, float]:
    """||dL/dW||_F, summed over batches and over the matrices of each block.

    What ECoFLaP shares sparsity out by (Sung et al., ICLR 2024, arXiv 2310.02998, section 3), with
    blocks as its groups; that blocks are left out by it is our own use of it.

    Args:
        adapter: the model; it stays as it is.
        blocks: to score; one on which the loss does not depend gets none.
        batches: of which the model has a loss.
        tick: told a block and the number of the batch, from 1, after each batch.
        checkpoints: what an earlier run with the very same arguments has measured.

    Raises:
        NonFiniteError: a loss is NaN or infinite.
    """
    owners = {matrix: block for block in blocks for matrix in block.matrices}
    inside = [matrix for matrix in adapter.matrices if matrix in owners]

    def told(number: int, last: Matrix) -> None:
        tick(owners[last], number + 1)

    found = measure(
        adapter,
        GradientNorm(),
        enumerate(batches),
        inside,
        tick=told,
        checkpoints=PartOf(checkpoints, "depth/gradients"),
    )
    scores: dict[Block, float] = {}
    for matrix in inside:
        if (values := found.values.get(matrix.name)) is not None:
            block = owners[matrix]
            scores[block] = scores.get(block, 0.0) + sum(values)
    return scores
