"""One threshold for a pool of matrices: the pool ends at the target, the matrices differ."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from app.domain.recipe import Recipe
from workers.pruning.kth import Scores, pool_counts
from workers.pruning.models.structure import Matrix
from workers.pruning.selection import share


def pooled(
    recipe: Recipe, scores: Mapping[Matrix, Scores], pool: Literal["global", "modality"]
) -> dict[Matrix, int]:
    """How many of the pool's floor(sparsity * weights) smallest scores lie in each matrix."""
    pools: dict[str, list[Matrix]] = defaultdict(list)
    for matrix in scores:
        pools[matrix.modality if pool == "modality" else "global"].append(matrix)
    counts: dict[Matrix, int] = {}
    for members in pools.values():
        total = share(sum(m.numel for m in members), recipe.sparsity_of(members[0].modality))
        found = pool_counts([scores[matrix] for matrix in members], total)
        counts |= dict(zip(members, found, strict=True))
    return counts
