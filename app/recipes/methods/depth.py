"""Fewer blocks."""

from app.recipes.method import StructureMethod
from app.recipes.structure import Blocks, Depth, Step


class DepthMethod(Blocks, StructureMethod):
    """Fewer blocks."""

    name = "depth"
    summary = "A smaller model: the blocks that change least of what passes through are left out."
    paper = "Men et al. (ShortGPT), 2024, arXiv 2403.03853"

    def step(self) -> Step:
        """Whole blocks."""
        return self.part(Depth)
