"""Fewer experts."""

from app.recipes.method import StructureMethod
from app.recipes.structure import Experts, Mixtures, Step


class ExpertsMethod(Mixtures, StructureMethod):
    """Fewer experts."""

    name = "experts"
    summary = "A smaller model: the experts that give least to the tokens routed to them go."
    paper = "Lasby et al. (REAP), 2025, arXiv 2510.13999"

    def step(self) -> Step:
        """Whole experts."""
        return self.part(Experts)
