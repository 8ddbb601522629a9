"""How much of each matrix goes."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.recipes.modality import Target, targets_of
from app.recipes.pattern import NM, Pattern
from app.strict import Strict


class Allocation(Strict):
    """What every allocation says about itself to plans and to the engine.

    Attributes:
        kind: its id.
        same_share: every matrix is to have the sparsity of its modality.
    """

    kind: str
    same_share: ClassVar[bool] = False

    @property
    def scoring(self) -> "GradientNorm | ZerothOrder | FirstOrder | Density | Reused | None":
        """What scores the matrices before any is pruned; None where no score is needed."""
        return None

    @property
    def ranks_by_importance(self) -> bool:
        """Whether the recipe's own importance decides how many weights each matrix loses."""
        return False

    @property
    def rounds_what_stays(self) -> bool:
        """Whether what stays is rounded down to whole weights, and not what goes."""
        return False

    @property
    def total_per_modality(self) -> bool | None:
        """Whether each modality reaches a total of its own; None: where it has its own target."""
        return None

    @property
    def reaches_total(self) -> bool:
        """Whether the total asked for is reached to the weight."""
        return True

    def check(self, sparsity: Target, pattern: Pattern) -> None:
        """Refuse what cannot go together.

        Raises:
            ValueError: the target or the pattern does not fit.
        """


class Uniform(Allocation):
    """Every matrix gets the target sparsity."""

    same_share = True

    kind: Literal["uniform"] = "uniform"
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: the model (or each modality that has a target of its own) loses "
        "exactly floor(sparsity x weights), matrices and rows what is nearest; paper: every "
        "matrix, or every row where rows are compared, is rounded down by itself",
    )

    @property
    def reaches_total(self) -> bool:
        """Not where every matrix is rounded by itself."""
        return self.rounding == "total"


class Pooled(Allocation):
    """One threshold over all matrices of a pool; matrices inside it end at different sparsities."""

    kind: Literal["pooled"] = "pooled"
    pool: Literal["global", "modality"] = "global"
    by: Literal["importance", "magnitude"] = Field(
        default="importance",
        description="rank weights of the pool by the recipe's own importance or by magnitude",
    )

    @property
    def ranks_by_importance(self) -> bool:
        """As asked."""
        return self.by == "importance"

    @property
    def total_per_modality(self) -> bool:
        """One for each pool."""
        return self.pool == "modality"

    def check(self, sparsity: Target, pattern: Pattern) -> None:
        """A pool needs freedom, and one target."""
        if pattern.kind == "n:m":
            raise ValueError("an n:m pattern fixes every matrix; it cannot be pooled")
        if self.pool == "global" and isinstance(sparsity, dict):
            raise ValueError("a global pool has one sparsity; pool by modality to give one each")


class _Estimator(Strict):
    """An estimate of how much the loss depends on a matrix.

    Attributes:
        forwards: forward passes for each sample.
        backwards: forward passes with their backward pass, for each sample.
        in_parts: whether several workers can measure parts of it.
    """

    forwards: ClassVar[int] = 0
    backwards: ClassVar[int] = 0
    in_parts: ClassVar[bool] = False

    samples: int = Field(
        default=32, ge=1, le=4096, description="calibration samples scores are measured on"
    )

    @property
    def perturbed(self) -> int:
        """Forward passes with one matrix perturbed, for each sample and matrix."""
        return 0


class GradientNorm(_Estimator):
    """||dL/dW||_F, summed over batches: what the paper's estimate converges to, without noise."""

    backwards = 1

    kind: Literal["gradient-norm"] = "gradient-norm"


class ZerothOrder(_Estimator):
    """|L(W + eps Z) - L(W - eps Z)| / (2 eps), Z ~ N(0, 1), summed over batches: the paper's."""

    in_parts = True

    kind: Literal["zeroth-order"] = "zeroth-order"
    draws: int = Field(default=1, ge=1, le=64, description="draws of Z per matrix and batch")
    epsilon: float = Field(default=1e-3, gt=0, le=1, description="size of the perturbation")

    @property
    def perturbed(self) -> int:
        """Both signs of every draw."""
        return 2 * self.draws


class FirstOrder(_Estimator):
    """Sums over a matrix of |W| |g|, W^2 g^2 or |g|, mean over batches: the official variant."""

    backwards = 1

    kind: Literal["first-order"] = "first-order"
    form: Literal["magnitude", "squared", "gradient"] = Field(
        default="magnitude", description="|W| |g|, W^2 g^2 or |g|"
    )


class Density(_Estimator):
    """How unlike each other a matrix makes image and text tokens: TAMP's diversity-aware score.

    Mean over samples of (1 - v) + (1 - l) + (1 - x), v, l and x the mean cosines of outputs among
    image tokens, among text tokens, and across (Lee et al., ACL Findings 2025, arXiv 2504.09897).
    Of a mean over no pair the paper's code makes NaN; here it is 0.
    """

    forwards = 1

    kind: Literal["density"] = "density"


class Reused(Strict):
    """The scores an earlier job has measured."""

    kind: Literal["reused"] = "reused"
    job: str = Field(max_length=64, description="id of that job")


Estimator = Annotated[
    GradientNorm | ZerothOrder | FirstOrder | Density, Field(discriminator="kind")
]


class Competition(Strict):
    """How groups of matrices compete for the budget by their scores."""

    granularity: Literal["block", "matrix", "tower"] = Field(
        default="block", description="what gets a sparsity of its own"
    )
    aggregate: Literal["sum", "avg"] = Field(
        default="sum", description="a group's score: sum over its matrices, or that per weight"
    )
    max_sparsity: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="no group loses more; by default 0.1 above the target, and with an n:m "
        "pattern at least one step of it",
    )

    def cap(self, sparsity: float, step: float = 0.0) -> float:
        """The largest sparsity of a group at a target, given the pattern's step."""
        default = min(round(sparsity + max(_ROOM, step), 9), 1.0)
        return default if self.max_sparsity is None else self.max_sparsity


_ROOM = 0.1  # above the target, in every script of the paper's authors


class ECoFLaP(Competition, Allocation):
    """Blocks the loss depends on keep more (Sung et al., ICLR 2024, arXiv 2310.02998).

    keep_i = min(n_i, n_i (1 - max_sparsity) + lambda s_i), lambda such that the budget is met.
    """

    kind: Literal["ecoflap"] = "ecoflap"
    scores: Annotated[
        GradientNorm | ZerothOrder | FirstOrder | Density | Reused, Field(discriminator="kind")
    ] = GradientNorm()
    budget: Literal["model", "modality"] = Field(
        default="model", description="all groups compete, or those of each modality"
    )
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: floor(sparsity x weights) of a budget's weights go; paper: "
        "floor((1 - sparsity) x weights) stay, which is one less where that is no whole number",
    )

    @property
    def rounds_what_stays(self) -> bool:
        """As asked."""
        return self.rounding == "paper"

    @property
    def scoring(self) -> GradientNorm | ZerothOrder | FirstOrder | Density | Reused:
        """As asked."""
        return self.scores

    @property
    def total_per_modality(self) -> bool:
        """One for each budget."""
        return self.budget == "modality"

    def check(self, sparsity: Target, pattern: Pattern) -> None:
        """There must be room between the target and the largest sparsity of a group."""
        if isinstance(sparsity, dict) and self.budget == "model":
            raise ValueError(
                'a sparsity per modality needs an allocation with "budget": "modality"'
            )
        step = 1 / pattern.m if isinstance(pattern, NM) else 0.0
        for target in targets_of(sparsity):
            cap = self.cap(target, step)
            if cap < target:
                raise ValueError(f"max_sparsity {cap:g} is below the target {target:g}")
            if isinstance(pattern, NM) and pattern.kept_at(cap) >= pattern.n:
                raise ValueError(
                    f"with max_sparsity {cap:g} every block would be {pattern.n}:{pattern.m}; "
                    "raise it, choose a larger m, or allocate uniformly"
                )


AnyAllocation = Annotated[Uniform | Pooled | ECoFLaP, Field(discriminator="kind")]
