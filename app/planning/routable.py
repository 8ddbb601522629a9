"""Which models PAR can route, as far as their config.json tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import UserError
from app.planning.model_files.files import architecture, number, section
from app.recipes.routing import Routing, TokensAndLayers


class RoutingError(UserError):
    """Tokens and layers of this model cannot be pruned per request."""

    code = "routing_not_applicable"


class TextOnlyModelError(RoutingError):
    """The model sees no images, so there are no image tokens to drop."""

    code = "routing_text_only"


class NoDecoderError(RoutingError):
    """The model embeds images and texts side by side and decodes nothing."""

    code = "routing_no_decoder"


class RoutingFamilyError(RoutingError):
    """The model's family has no runtime here."""

    code = "routing_family_not_supported"


class TokenBudgetError(RoutingError):
    """The image reaches this model's decoder as a few queries, none of which can go."""

    code = "routing_tokens_not_prunable"


class LayerBudgetError(RoutingError):
    """Fewer layers may be skipped than the budget skips."""

    code = "routing_layers_not_skippable"


TOKENS_AND_LAYERS = frozenset(
    {
        "LlavaForConditionalGeneration",
        "LlavaNextForConditionalGeneration",
        "LlavaOnevisionForConditionalGeneration",
        "InternVLForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Idefics3ForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
    }
)
LAYERS_ONLY = frozenset({"InstructBlipForConditionalGeneration"})
_DEEP = "its first layers get image features again (deepstack), for every image token there was"
_WINDOWS = "some of its layers see a sliding window alone, whose cache cannot differ in length"
_LINEAR = "some of its layers are linear attention, whose state cannot do without a token"
# Why families that might be looked for have no runtime.
REASONS = {
    "Qwen3VLForConditionalGeneration": _DEEP,
    "Qwen3VLMoeForConditionalGeneration": _DEEP,
    "Qwen3_5ForConditionalGeneration": _LINEAR,
    "Qwen3_5MoeForConditionalGeneration": _LINEAR,
    "Gemma3ForConditionalGeneration": _WINDOWS,
    "Gemma3nForConditionalGeneration": _WINDOWS,
    "Gemma4ForConditionalGeneration": _WINDOWS,
    "Gemma4UnifiedForConditionalGeneration": _WINDOWS,
}
_MOST_LAYERS = 4096
_COMPARES = ("Model", "ForImageTextRetrieval", "ForImageClassification")


def check_routable(config: Mapping[str, Any], routing: Routing) -> None:
    """Refuse a model that has no runtime, or whose layers do not allow the budget.

    Args:
        config: of the checkpoint.
        routing: what is asked.

    Raises:
        RoutingError: one of its kinds; the message says what would be accepted.
    """
    name = architecture(config)
    if name not in TOKENS_AND_LAYERS | LAYERS_ONLY:
        _refuse(name, config)
    if _windowed(section(config, "text_config")):
        raise RoutingFamilyError(f"{name} has no runtime here with this language model: {_WINDOWS}")
    budget = routing.budget
    if name in LAYERS_ONLY and not (isinstance(budget, TokensAndLayers) and budget.tokens == 1):
        raise TokenBudgetError(
            f"{name} gives its decoder a few queries instead of image tokens; none can be dropped, "
            "so ask for profile layer-only, or for layers alone"
        )
    layers = decoder_layers(config)
    if layers is not None:
        check_layers(layers, routing)


def _windowed(text: Mapping[str, Any]) -> bool:
    """Whether layers see windows; Mistral's do where its configuration says nothing."""
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        return any(kind != "full_attention" for kind in kinds)
    return text.get("model_type") == "mistral" and text.get("sliding_window", True) is not None


def _refuse(name: str, config: Mapping[str, Any]) -> None:
    if not any("vision" in key for key in config):
        raise TextOnlyModelError(
            f"{name or 'the model'} sees no images, so there are no image tokens to drop"
        )
    if name.endswith(_COMPARES):
        raise NoDecoderError(
            f"{name} embeds images and texts side by side and has no decoder that reads image "
            "tokens"
        )
    known = ", ".join(sorted(TOKENS_AND_LAYERS | LAYERS_ONLY))
    why = f": {REASONS[name]}" if name in REASONS else ""
    raise RoutingFamilyError(f"{name or 'the model'} has no runtime here{why}; supported: {known}")


def decoder_layers(config: Mapping[str, Any]) -> int | None:
    """Layers of the decoder; None where the configuration leaves them to a default."""
    return number(section(config, "text_config"), "num_hidden_layers", _MOST_LAYERS) or None


def protected(layers: int, drop_layer: int) -> tuple[int, ...]:
    """Indices that always run: 0..max(K, 1), which see everything first, and the last."""
    first = range(min(max(drop_layer, 1) + 1, layers - 1))
    return (*first, layers - 1)


def candidates(layers: int, drop_layer: int) -> tuple[int, ...]:
    """Indices that may be skipped: from the middle on, without the protected ones."""
    kept = protected(layers, drop_layer)
    return tuple(index for index in range(layers // 2, layers - 1) if index not in kept)


def running_layers(amount: float, layers: int, able: int) -> int:
    """How many layers run.

    Args:
        amount: a count, which is taken as it is, or a share, which is met as nearly as can be.
        layers: of the decoder.
        able: how many of them may be skipped.
    """
    return int(amount) if amount > 1 else max(layers - able, round(layers * amount))


def check_layers(layers: int, routing: Routing) -> None:
    """Refuse a budget that skips more layers than may be skipped.

    Raises:
        LayerBudgetError: the message says how many may be.
    """
    if not isinstance(routing.budget, TokensAndLayers):
        return
    able = len(candidates(layers, routing.drop_layer))
    run = running_layers(routing.budget.layers, layers, able)
    if not layers - able <= run <= layers:
        raise LayerBudgetError(
            f"{run} of {layers} layers were asked to run; with tokens dropped before layer "
            f"{routing.drop_layer}, {able} may be skipped, so {layers - able} to {layers} can"
        )


@dataclass(frozen=True, slots=True)
class PlannedRouting:
    """What a router of this model may decide.

    Attributes:
        layers: of the decoder; None, as all the rest, where config.json does not tell.
        protected: indices that always run.
        may_skip: indices the router chooses from.
        run: how many layers the budget runs; None where a ratio of operations decides.
    """

    layers: int | None
    protected: tuple[int, ...] | None = None
    may_skip: tuple[int, ...] | None = None
    run: int | None = None


def plan_routing(config: Mapping[str, Any], routing: Routing) -> PlannedRouting:
    """Read the plan off a configuration."""
    layers = decoder_layers(config)
    if layers is None:
        return PlannedRouting(None)
    budget, able = routing.budget, candidates(layers, routing.drop_layer)
    run = None
    if isinstance(budget, TokensAndLayers):
        run = running_layers(budget.layers, layers, len(able))
    return PlannedRouting(layers, protected(layers, routing.drop_layer), able, run)


_FEW = 500


def routing_warnings(samples: int) -> list[str]:
    """What whoever trains a router on so many records should know before."""
    if samples >= _FEW:
        return []
    told = f"{samples} records teach a router little; with fewer than {_FEW} it may well not beat "
    return [f"{told}an even grid, and the job then ends as failed"]
