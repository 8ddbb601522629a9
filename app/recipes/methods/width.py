"""Narrower MLPs."""

from app.recipes.method import StructureMethod
from app.recipes.structure import Channels, Step, Width


class WidthMethod(Channels, StructureMethod):
    """Narrower MLPs."""

    name = "width"
    summary = "A smaller model: fewer channels in every MLP, what reads them solved for again."
    paper = (
        "Zhang et al. (CORP), 2026, arXiv 2602.05243; An et al. (FLAP), arXiv 2312.11983; "
        "Kurtic et al. (ZipLM), arXiv 2302.04089"
    )
    updates_weights = True

    def step(self) -> Step:
        """Channels of MLPs."""
        return self.part(Width)
