"""What to prune and how: a recipe is allocation x importance x pattern at a target sparsity.

Allocation says how much of each matrix goes, importance which weights go first, the pattern which
shape the zeros take. A named method (`wanda`, `magnitude`, ...) is a preset of the three.
"""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Union

from pydantic import BeforeValidator, Field, model_validator

from app.recipes.allocation import AnyAllocation, Reused, Uniform
from app.recipes.importance import Importance, Staged, renamed
from app.recipes.methods import IMPORTANCES
from app.recipes.methods.magnitude import Magnitude
from app.recipes.modality import Modality, Target, targets_of
from app.recipes.module_patterns import ModulePatterns
from app.recipes.pattern import NM, Pattern, Unstructured
from app.strict import Strict

if TYPE_CHECKING:
    AnyImportance: TypeAlias = Importance
else:
    AnyImportance = Annotated[
        Annotated[Union[tuple(IMPORTANCES.values())], Field(discriminator="kind")],  # noqa: UP007
        BeforeValidator(partial(renamed, known=IMPORTANCES)),
    ]

_TOLERANCE = 0.005  # 2/3 is written .67


class RecipeParts(Strict):
    """What is pruned how, whatever the target: any parts that make sense together."""

    allocation: AnyAllocation = Field(default=Uniform(), description="how much of each matrix goes")
    importance: AnyImportance = Field(default=Magnitude(), description="which weights go first")
    pattern: Pattern = Field(default=Unstructured(), description="which shape the zeros take")


class Recipe(RecipeParts):
    """The complete description of one pruning run, model and data aside."""

    kind: Literal["weights"] = "weights"
    sparsity: Target = Field(
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
            share = 1 - self.pattern.n / self.pattern.m
            if any(each and abs(each - share) > _TOLERANCE for each in targets_of(self.sparsity)):
                raise ValueError(f"{self.pattern.n}:{self.pattern.m} fixes sparsity at {share:g}")
            if isinstance(self.importance, Staged) and self.importance.stages > 1:
                raise ValueError("an n:m pattern fixes sparsity, so there are no stages towards it")
        self.allocation.check(self.sparsity, self.pattern)
        return self

    @property
    def needs_data(self) -> bool:
        """A calibration set is read."""
        scoring = self.allocation.scoring
        scored = scoring is not None and not isinstance(scoring, Reused)
        return self.importance.needs_data or scored

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
