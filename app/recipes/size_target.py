"""How large a model is to be once its structure is taken out."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.recipes.structure_report import StructureReport
from app.strict import Strict

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


def _form(value: Any) -> str:
    if value == "auto":
        return "search"
    return "share" if isinstance(value, float) and value < 1 else "count"


Parameters = Annotated[
    Annotated[Share, Tag("share")]
    | Annotated[Count, Tag("count")]
    | Annotated[Literal["auto"], Tag("search")],
    Discriminator(_form),
]


class SizeTarget(Strict):
    """The fields of a request that say it; the shares of its structure follow from them."""

    target_parameters: Parameters | None = Field(
        default=None,
        description="how many parameters the structure may leave: a share of all parameters of the "
        "model (below 1), embeddings and heads included, or so many; `auto` looks for the fewest "
        "within the quality gate. The shares that the structure gives are then proportions, all "
        "multiplied by one factor",
    )
    target_flops_ratio: Share | None = Field(
        default=None,
        description="how much of the forward operations the structure may leave, as a share: "
        "those of the matrices in blocks, for one image of the size in config.json and 512 tokens "
        "of text; embeddings, heads and attention itself apart. Shares become proportions likewise",
    )

    def most_parameters(self, before: int) -> int:
        """How many may be left of so many."""
        asked = self.target_parameters
        if asked is None or asked == "auto":
            return before
        return int(Fraction(repr(asked)) * before) if isinstance(asked, float) else asked

    def is_met(self, report: StructureReport) -> bool:
        """Whether what is left is as small as asked."""
        fits = report.parameters_kept <= self.most_parameters(report.parameters)
        ratio = self.target_flops_ratio
        return fits and (ratio is None or report.flops_ratio <= ratio)

    @property
    def size_target(self) -> str:
        """The target as it was asked for."""
        asked = self.model_dump(include=set(SizeTarget.model_fields), exclude_none=True)
        return " and ".join(f"{name} {value}" for name, value in asked.items())
