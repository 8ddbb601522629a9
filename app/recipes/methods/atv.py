"""ATV-Pruning."""

from app.recipes.methods.wanda import WandaMethod


class AtvMethod(WandaMethod):
    """Wanda on all text tokens and the image tokens that a block changes most."""

    name = "atv"
    summary = "Wanda on all text tokens and the few image tokens that each block changes most."
    paper = "Li, Qian, Han, CVPR 2026, arXiv 2603.16001"
    statistics_see = "atv"
