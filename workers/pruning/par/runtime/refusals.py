"""Decisions, caches and ways to generate that PAR does not support."""

from typing import Any

from transformers import DynamicCache, GenerationConfig

from workers.pruning.par.runtime.anatomy import Anatomy
from workers.pruning.par.runtime.decision import Decision
from workers.pruning.par.runtime.errors import ParError

_ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")


def check(decision: Decision, subject: Anatomy) -> None:
    """Refuse decisions the model cannot follow."""
    if decision.keep is not None and not subject.prunes_tokens:
        raise ParError(f"PAR skips layers of {subject.family}; it drops none of its image tokens.")
    layers = decision.layers
    if (
        list(layers) != sorted(set(layers))
        or layers[:1] != (0,)
        or layers[-1] >= len(subject.layers)
    ):
        raise ParError(
            "A decision's layers are ascending, of the model, and hold layer 0, whose cache tells "
            "the length of the text."
        )
    rows = decision.rows
    if rows is not None and (
        not bool(rows[:, 0].all()) or rows.any(0).nonzero().squeeze(1).tolist() != list(layers)
    ):
        raise ParError(
            "A decision's layers are those that any of its rows runs, and every row runs layer 0."
        )


def refuse_cache(cache: Any) -> None:
    """Refuse caches whose layers cannot differ in length."""
    if cache is not None and (not isinstance(cache, DynamicCache) or any(cache.is_sliding)):
        raise ParError(
            f"Layers of different lengths need a DynamicCache, not a {type(cache).__name__}."
        )


def refuse_modes(config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse ways to `generate` that a shortened cache cannot serve."""
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, GenerationConfig)]
    config = given[0] if given else config

    def setting(name: str) -> Any:
        return kwargs.get(name, getattr(config, name, None))

    if any(setting(name) for name in _ASSISTED):
        raise ParError(
            "Assisted decoding takes tokens back from the cache; PAR does not support it."
        )
    if setting("prefill_chunk_size"):
        raise ParError("Chunked prefill hides the end of the prompt from the router.")
    if setting("cache_implementation") not in {None, "dynamic", "dynamic_full"}:
        raise ParError(
            "Layers of different lengths need a dynamic cache, not "
            f"cache_implementation={setting('cache_implementation')!r}."
        )
