"""What to prune and how: a recipe is allocation x importance x pattern at a target sparsity.

Allocation says how much of each matrix goes, importance which weights go first, the pattern which
shape the zeros take. A named method (`wanda`, `magnitude`, ...) is a preset of the three.
"""

from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.patterns import ModulePatterns


class Strict(BaseModel):
    """Immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Modality(StrEnum):
    """Which part of a vision-language model a matrix serves."""

    VISION = "vision"
    BRIDGE = "bridge"
    TEXT = "text"
    FUSION = "fusion"
    LANGUAGE = "language"


Sparsity = Annotated[float, Field(ge=0, lt=1, description="share of weights set to zero")]


class Uniform(Strict):
    """Every matrix gets the target sparsity."""

    kind: Literal["uniform"] = "uniform"
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: the model (or each modality that has a target of its own) loses "
        "exactly floor(sparsity x weights), matrices and rows what is nearest; paper: every "
        "matrix, or every row where rows are compared, is rounded down by itself",
    )


class Pooled(Strict):
    """One threshold over all matrices of a pool; matrices inside it end at different sparsities."""

    kind: Literal["pooled"] = "pooled"
    pool: Literal["global", "modality"] = "global"
    by: Literal["importance", "magnitude"] = Field(
        default="importance",
        description="rank weights of the pool by the recipe's own importance or by magnitude",
    )


class _Measured(Strict):
    samples: int = Field(
        default=32, ge=1, le=4096, description="calibration samples scores are measured on"
    )


class GradientNorm(_Measured):
    """||dL/dW||_F, summed over batches: what the paper's estimate converges to, without noise."""

    kind: Literal["gradient-norm"] = "gradient-norm"


class ZerothOrder(_Measured):
    """|L(W + eps Z) - L(W - eps Z)| / (2 eps), Z ~ N(0, 1), summed over batches: the paper's."""

    kind: Literal["zeroth-order"] = "zeroth-order"
    draws: int = Field(default=1, ge=1, le=64, description="draws of Z per matrix and batch")
    epsilon: float = Field(default=1e-3, gt=0, le=1, description="size of the perturbation")


class FirstOrder(_Measured):
    """Sums over a matrix of |W| |g|, W^2 g^2 or |g|, mean over batches: the official variant."""

    kind: Literal["first-order"] = "first-order"
    form: Literal["magnitude", "squared", "gradient"] = Field(
        default="magnitude", description="|W| |g|, W^2 g^2 or |g|"
    )


class Reused(Strict):
    """The scores an earlier job has measured."""

    kind: Literal["reused"] = "reused"
    job: str = Field(max_length=64, description="id of that job")


Estimator = Annotated[GradientNorm | ZerothOrder | FirstOrder, Field(discriminator="kind")]


class ECoFLaP(Strict):
    """Blocks the loss depends on keep more (Sung et al., ICLR 2024, arXiv 2310.02998).

    keep_i = min(n_i, n_i (1 - max_sparsity) + lambda s_i), lambda such that the budget is met.
    """

    kind: Literal["ecoflap"] = "ecoflap"
    scores: Annotated[
        GradientNorm | ZerothOrder | FirstOrder | Reused, Field(discriminator="kind")
    ] = GradientNorm()
    granularity: Literal["block", "matrix", "tower"] = Field(
        default="block", description="what gets a sparsity of its own"
    )
    aggregate: Literal["sum", "avg"] = Field(
        default="sum", description="a group's score: sum over its matrices, or that per weight"
    )
    budget: Literal["model", "modality"] = Field(
        default="model", description="all groups compete, or those of each modality"
    )
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: floor(sparsity x weights) of a budget's weights go; paper: "
        "floor((1 - sparsity) x weights) stay, which is one less where that is no whole number",
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

Allocation = Annotated[Uniform | Pooled | ECoFLaP, Field(discriminator="kind")]


class Magnitude(Strict):
    """|w|. Needs no data."""

    kind: Literal["magnitude"] = "magnitude"


class L2Normalised(Strict):
    """|w| / ||W||_F: magnitude on the scale of its own matrix. Needs no data."""

    kind: Literal["l2-normalised"] = "l2-normalised"


class Lamp(Strict):
    """u_(i) / sum_{j >= i} u_(j), u = w^2 sorted (Lee et al., ICLR 2021, arXiv 2010.07611).

    Needs no data.
    """

    kind: Literal["lamp"] = "lamp"


class Random(Strict):
    """Uniform in [0, 1), drawn by the recipe's seed. Needs no data."""

    kind: Literal["random"] = "random"


class Flow(Strict):
    """|w_ij| * O_i * I_j, information flow of MULTIFLOW (Farina et al., arXiv 2404.05621)."""

    kind: Literal["flow"] = "flow"


class Wanda(Strict):
    """|w_ij| * ||x_j||_2 (Sun et al., ICLR 2024, arXiv 2306.11695, eq. 1)."""

    kind: Literal["wanda"] = "wanda"
    sequential: bool = Field(
        default=True, description="calibrate each block on activations of already pruned blocks"
    )


class SparseGPT(Strict):
    """Optimal brain surgeon with a shared Hessian (Frantar and Alistarh, arXiv 2301.00774)."""

    kind: Literal["sparsegpt"] = "sparsegpt"
    damping: float = Field(default=0.01, gt=0, le=1, description="share of mean(diag H) added")
    block_size: int = Field(default=128, ge=1, le=4096, description="columns updated together")


class Staged(Strict):
    """An importance measured anew on the pruned model, stage by stage.

    Stage t of T ends at sparsity 1 - (1 - s)^(t / T); what is pruned stays pruned.
    """

    stages: int = Field(default=1, ge=1, le=100, description="how often to measure and prune")


class Snip(Staged):
    """|g * w|, g the gradient of the loss (Lee et al., ICLR 2019, arXiv 1810.02340, eq. 4)."""

    kind: Literal["snip"] = "snip"


class Chita(Staged):
    """Block-wise Fisher quadratic (Benbaki et al., ICML 2023, arXiv 2302.14623)."""

    kind: Literal["chita"] = "chita"
    damping: float = Field(default=1e-5, gt=0, le=1, description="ridge lambda per batch")
    block_size: int = Field(default=10_000, ge=1, le=100_000, description="weights solved together")


Importance = Annotated[
    Magnitude | L2Normalised | Lamp | Random | Flow | Snip | Chita | Wanda | SparseGPT,
    Field(discriminator="kind"),
]


class Unstructured(Strict):
    """Any weight may go; scores are compared inside a row or inside a whole matrix."""

    kind: Literal["unstructured"] = "unstructured"
    group: Literal["row", "matrix"] = "matrix"


MAX_M = 64


class NM(Strict):
    """N:M pattern: of every m consecutive inputs of an output row, n are kept (2:4, 4:8, 1:4)."""

    kind: Literal["n:m"] = "n:m"
    n: int = Field(ge=1, description="weights kept per group")
    m: int = Field(ge=2, le=MAX_M, description="group size along the input dimension")

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n:m keeps n of m weights, so n < m; got {self.n}:{self.m}")
        return self

    def kept_at(self, sparsity: float) -> int:
        """The fewest weights of a group of m that stay at or below a sparsity; at least one."""
        return max(1, ceil(self.m * (1 - Fraction(repr(sparsity)))))


Pattern = Annotated[Unstructured | NM, Field(discriminator="kind")]


_TOLERANCE = 0.005  # 2/3 is written .67


class Recipe(Strict):
    """The complete description of one pruning run, model and data aside."""

    kind: Literal["weights"] = "weights"
    allocation: Allocation = Uniform()
    importance: Importance = Magnitude()
    pattern: Pattern = Unstructured()
    sparsity: Sparsity | dict[Modality, Sparsity] = Field(
        description="one target for all, or one per modality (others stay dense)"
    )
    targets: ModulePatterns = Field(default=("*",), min_length=1, description="modules to prune")
    ignore: ModulePatterns = Field(default=(), description="modules to leave alone")
    allow_unmatched: bool = Field(
        default=False, description="accept patterns of `ignore` that match no module"
    )
    split_qkv: bool = Field(
        default=False, description="see a fused query-key-value projection as three matrices"
    )
    include_bridge: bool = Field(
        default=False, description="prune projectors and Q-Former too, which are left alone else"
    )
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.pattern, NM):
            kept = self.pattern.m - self.pattern.n
            asked = self.sparsity.values() if isinstance(self.sparsity, dict) else [self.sparsity]
            if any(each and abs(each - kept / self.pattern.m) > _TOLERANCE for each in asked):
                raise ValueError(
                    f"{self.pattern.n}:{self.pattern.m} fixes sparsity at {kept / self.pattern.m:g}"
                )
            if self.allocation.kind == "pooled":
                raise ValueError("an n:m pattern fixes every matrix; it cannot be pooled")
            if isinstance(self.importance, Staged) and self.importance.stages > 1:
                raise ValueError("an n:m pattern fixes sparsity, so there are no stages towards it")
        if (
            isinstance(self.allocation, Pooled)
            and self.allocation.pool == "global"
            and isinstance(self.sparsity, dict)
        ):
            raise ValueError("a global pool has one sparsity; pool by modality to give one each")
        if isinstance(self.allocation, ECoFLaP):
            self._ecoflap_has_room(self.allocation)
        return self

    def _ecoflap_has_room(self, allocation: ECoFLaP) -> None:
        each = isinstance(self.sparsity, dict)
        if each and allocation.budget == "model":
            raise ValueError("a sparsity per modality needs a budget per modality")
        targets = self.sparsity.values() if isinstance(self.sparsity, dict) else [self.sparsity]
        step = 1 / self.pattern.m if isinstance(self.pattern, NM) else 0.0
        for target in targets:
            cap = allocation.cap(target, step)
            if cap < target:
                raise ValueError(f"max_sparsity {cap:g} is below the target {target:g}")
            if isinstance(self.pattern, NM) and self.pattern.kept_at(cap) >= self.pattern.n:
                raise ValueError(
                    f"with max_sparsity {cap:g} every block would be {self.pattern.n}:"
                    f"{self.pattern.m}; raise it, choose a larger m, or allocate uniformly"
                )

    def sparsity_of(self, modality: Modality) -> float:
        """Target of a modality; zero where a target per modality leaves it out."""
        if isinstance(self.sparsity, dict):
            return self.sparsity.get(modality, 0.0)
        return self.sparsity

    def stages(self) -> tuple[Self, ...]:
        """This recipe at the sparsity of every stage; the last is the recipe itself."""
        count = self.importance.stages if isinstance(self.importance, Staged) else 1
        early = (self.model_copy(update=self._at(stage / count)) for stage in range(1, count))
        return (*early, self)

    def _at(self, share: float) -> dict[str, Any]:
        if isinstance(self.sparsity, dict):
            return {"sparsity": {m: 1 - (1 - s) ** share for m, s in self.sparsity.items()}}
        return {"sparsity": 1 - (1 - self.sparsity) ** share}
