"""What prunes: the rows of the tables."""

from dataclasses import dataclass, field
from typing import Any

from app.recipes.methods import WEIGHT_METHODS


@dataclass(frozen=True)
class Pruner:
    """One row of a table; `baseline` where it is no method this project is about."""

    label: str
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    baseline: bool = True

    @property
    def seeded(self) -> bool:
        """Whether another seed may remove other weights."""
        return self.method == "random" or WEIGHT_METHODS[self.method].needs_data


TABLE = (
    Pruner("random", "random"),
    Pruner("magnitude, uniform", "magnitude"),
    Pruner("magnitude, global", "magnitude", {"scope": "global"}),
    Pruner("magnitude, per modality", "magnitude", {"scope": "modality"}),
    Pruner("LAMP", "lamp"),
    Pruner("SNIP", "snip"),
    Pruner("Wanda", "wanda"),
    Pruner("SparseGPT", "sparsegpt"),
    Pruner("CHITA", "chita"),
    Pruner("MULTIFLOW", "multiflow", baseline=False),
    Pruner("ECoFLaP, Wanda", "ecoflap", baseline=False),
    Pruner("ECoFLaP, SparseGPT", "ecoflap", {"local": "sparsegpt"}, baseline=False),
)
# What could be different about ECoFLaP's first stage, to find out what it gains and where.
_CHOICES: dict[str, dict[str, Any]] = {
    "cap 0.85": {"max_sparsity": 0.85},
    "cap 0.95": {"max_sparsity": 0.95},
    "per weight": {"aggregate": "avg"},
    "matrices": {"granularity": "matrix"},
    "towers": {"granularity": "tower"},
    "per modality": {"per_modality": True},
    "first order": {"estimator": "first-order"},
    "128 samples": {"samples": 128},
}
VARIANTS = tuple(
    Pruner(
        f"ECoFLaP, SparseGPT, {name}", "ecoflap", {"local": "sparsegpt"} | choice, baseline=False
    )
    for name, choice in _CHOICES.items()
)


def find_pruner(label: str) -> Pruner:
    """The pruner of that label."""
    return next(pruner for pruner in TABLE + VARIANTS if pruner.label == label)
