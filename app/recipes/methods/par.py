"""PAR."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.recipes.method import RouteMethod
from app.recipes.routing import (
    PROFILES,
    Amount,
    Budget,
    FlopsRatio,
    ProfileName,
    RouterTraining,
    Routing,
    TokensAndLayers,
)

_DEFAULT: ProfileName = "balanced"


class ParMethod(RouteMethod, RouterTraining):
    """PAR: fewer image tokens and layers per request, chosen by a trained router."""

    name = "par"
    summary = "A trained router drops image tokens and skips decoder layers, request by request."
    paper = "Suo et al., ICCV 2025, arXiv 2412.06458"

    profile: ProfileName | None = Field(
        default=None, description=f"a named budget; {_DEFAULT} where no budget is given"
    )
    tokens: Amount | None = Field(
        default=None, description="image tokens to keep: a share up to 1, a count above"
    )
    layers: Amount | None = Field(
        default=None, description="decoder layers to run: a share up to 1, a count above"
    )
    target_flops_ratio: float | None = Field(
        default=None, gt=0, lt=1, description="prefill operations over those of the dense model"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        explicit = self.tokens is not None or self.layers is not None
        given = [self.profile is not None, explicit, self.target_flops_ratio is not None]
        if sum(given) > 1:
            raise PydanticCustomError(
                "budget_ambiguous", "give a profile, tokens and layers, or target_flops_ratio"
            )
        return self

    def budget(self) -> Budget:
        """What the parameters ask for."""
        if self.target_flops_ratio is not None:
            return FlopsRatio(ratio=self.target_flops_ratio)
        if self.tokens is not None or self.layers is not None:
            return TokensAndLayers(tokens=self.tokens or 1, layers=self.layers or 1)
        return PROFILES[self.profile or _DEFAULT]

    def routing(self, seed: int) -> Routing:
        """The run the parameters describe."""
        shared = self.model_dump(include=set(RouterTraining.model_fields))
        return Routing(budget=self.budget(), seed=seed, **shared)
