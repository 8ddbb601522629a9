"""What a PAR job trains: a router that drops image tokens and skips decoder layers per request.

Wei Suo et al., "Pruning All-Rounder", ICCV 2025, arXiv 2412.06458.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from app.strict import Strict


def _share_or_count(value: float) -> float:
    if value > 1 and value != int(value):
        raise PydanticCustomError(
            "share_or_count_invalid", "up to 1 it is a share; above, a whole number"
        )
    return value


Amount = Annotated[float, Field(gt=0, le=100_000), AfterValidator(_share_or_count)]
"""Up to 1 a share, above a count; 1 is everything."""


class TokensAndLayers(Strict):
    """How many image tokens and decoder layers a request keeps."""

    kind: Literal["tokens-and-layers"] = "tokens-and-layers"
    tokens: Amount = 1
    layers: Amount = 1


class FlopsRatio(Strict):
    """Prefill operations, router included, over those of the dense model."""

    kind: Literal["flops-ratio"] = "flops-ratio"
    ratio: float = Field(gt=0, lt=1)


Budget = Annotated[TokensAndLayers | FlopsRatio, Field(discriminator="kind")]

ProfileName = Literal["quality", "balanced", "fast", "turbo", "token-only", "layer-only"]
_MANY, _SOME = 28 / 32, 24 / 32  # layers of LLaVA-1.5-7B in the paper's table 1
PROFILES: dict[ProfileName, TokensAndLayers] = {
    "quality": TokensAndLayers(tokens=0.444, layers=_MANY),
    "balanced": TokensAndLayers(tokens=0.306, layers=_MANY),
    "fast": TokensAndLayers(tokens=0.25, layers=_SOME),
    "turbo": TokensAndLayers(tokens=0.222, layers=_SOME),
    "token-only": TokensAndLayers(tokens=0.306),
    "layer-only": TokensAndLayers(layers=_MANY),
}
"""One trained router serves them all; the first two layer counts are the paper's."""


_FORMER = "take_anyway"  # deprecated


class RouterTraining(Strict):
    """How a router is made and judged."""

    router: Literal["slim", "full"] = Field(
        default="slim",
        description="slim: two narrow blocks, < 0.1 % of a 7B model's operations; full: decoder "
        "layers of the model's own kind, as in the paper",
    )
    drop_layer: int = Field(
        default=2, ge=0, le=1024, description="tokens are dropped before this decoder layer"
    )
    coverage_floor: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of the kept tokens that lies on an even grid, whatever the router says",
    )
    rounds: int = Field(default=3, ge=1, le=20, description="of mining and training")
    candidates: int = Field(
        default=8,
        ge=2,
        le=64,
        description="noisy decisions per record; half as many again at half of the tokens and at "
        "a quarter",
    )
    noise: float = Field(
        default=1.0, ge=0, le=10, description="standard deviation on the router's attention logits"
    )
    answer_tokens: int = Field(
        default=32, ge=1, le=256, description="longest dense answer that candidates are held to"
    )
    epochs: int = Field(default=10, ge=1, le=1000, description="over a round's pairs")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="peak; falls as a cosine. By default 3e-4 for a router 256 wide, and inversely "
        "proportional to the width",
    )
    held_out: float = Field(
        default=0.2, ge=0.05, le=0.5, description="share of the records the router is judged on"
    )
    static_export: bool = Field(
        default=False,
        description="also write a checkpoint without the layers the router ranks lowest",
    )
    allow_no_improvement: bool = Field(
        default=False,
        description="succeed even where it is not shown that the router beats random, uniform and "
        "prior (`take_anyway` until now, which is still understood)",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or _FORMER not in values:
            return values
        if "allow_no_improvement" in values:
            raise PydanticCustomError(
                "given_twice", "take_anyway is the former name of allow_no_improvement; give one"
            )
        renamed = {key: value for key, value in values.items() if key != _FORMER}
        return renamed | {"allow_no_improvement": values[_FORMER]}


class Routing(RouterTraining):
    """The complete description of one PAR run, model and data aside."""

    kind: Literal["routing"] = "routing"
    budget: Budget = Field(description="the router is trained and judged at this one")
    seed: int = Field(default=0, ge=0, lt=2**32)
