"""What prunes: the rows of the tables."""

from dataclasses import dataclass, field
from typing import Any

from app.recipes.methods import WEIGHT_METHODS
from app.recipes.reconstruction import LeastSquares
from app.recipes.recovery import Recovery


@dataclass(frozen=True)
class Pruner:
    """One row of a table.

    Attributes:
        label: of the row.
        method: its name.
        parameters: of the method.
        parts: of the recipe, beside the method's own.
        baseline: no method this project is about.
        drawn: has a line in the curves.
    """

    label: str
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    baseline: bool = True
    drawn: bool = False

    @property
    def seeded(self) -> bool:
        """Whether another seed may remove other weights."""
        return self.method == "random" or WEIGHT_METHODS[self.method].needs_data


_SOLVED = {"reconstruction": LeastSquares()}
_RECOVERED = {"recovery": Recovery(scope="block", steps=200)}
TABLE = (
    Pruner("random", "random"),
    Pruner("magnitude, uniform", "magnitude", drawn=True),
    Pruner("magnitude, global", "magnitude", {"scope": "global"}),
    Pruner("magnitude, per modality", "magnitude", {"scope": "modality"}),
    Pruner("LAMP", "lamp"),
    Pruner("SNIP", "snip"),
    Pruner("Wanda", "wanda", drawn=True),
    Pruner("SparseGPT", "sparsegpt", drawn=True),
    Pruner("CHITA", "chita"),
    Pruner("ADMM", "admm"),
    Pruner("MULTIFLOW", "multiflow", baseline=False, drawn=True),
    Pruner("ECoFLaP, Wanda", "ecoflap", baseline=False),
    Pruner("ECoFLaP, SparseGPT", "ecoflap", {"local": "sparsegpt"}, baseline=False, drawn=True),
    Pruner("Wanda, least squares", "wanda", parts=_SOLVED, baseline=False),
    Pruner("MULTIFLOW, least squares", "multiflow", parts=_SOLVED, baseline=False),
    Pruner("recommended", "recommended", baseline=False, drawn=True),
    Pruner("recommended, recovery", "recommended", parts=_RECOVERED, baseline=False, drawn=True),
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
        *(f"ECoFLaP, SparseGPT, {name}", "ecoflap", {"local": "sparsegpt"} | choice),
        baseline=False,
        drawn=name == "matrices",
    )
    for name, choice in _CHOICES.items()
)


def find_pruner(label: str) -> Pruner:
    """The pruner of that label."""
    return next(pruner for pruner in TABLE + VARIANTS if pruner.label == label)
