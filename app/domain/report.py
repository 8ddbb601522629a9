"""What a pruning run did, matrix by matrix."""

from app.domain.evaluation import EvaluationReport
from app.domain.recipe import Modality, Recipe, Strict


class Tally(Strict):
    """Weights counted: all, asked to go, and zero afterwards."""

    weights: int
    asked: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero."""
        return self.zeros / self.weights if self.weights else 0.0


class MatrixReport(Tally):
    """One matrix.

    Attributes:
        module: module path, with `[q]`, `[k]`, `[v]` for a part of a fused projection.
        file_key: tensor name in the checkpoint's files.
        shape: (out_features, in_features).
        mean_score: mean importance score; None for a matrix that lost nothing.
        lost_score: share of the summed scores that went.
        error: squared output error per calibration sample, where the method knows it.
    """

    module: str
    file_key: str
    block: str
    modality: Modality
    shape: tuple[int, int]
    mean_score: float | None = None
    lost_score: float | None = None
    error: float | None = None


class PruningReport(Strict):
    """The whole run; `evaluation` is None where none was asked for."""

    recipe: Recipe
    matrices: tuple[MatrixReport, ...]
    blocks: dict[str, Tally]
    modalities: dict[Modality, Tally]
    model: Tally
    warnings: tuple[str, ...]
    evaluation: EvaluationReport | None = None


def tally(reports: list[MatrixReport]) -> Tally:
    """Sums over matrices."""
    return Tally(
        weights=sum(r.weights for r in reports),
        asked=sum(r.asked for r in reports),
        zeros=sum(r.zeros for r in reports),
    )
