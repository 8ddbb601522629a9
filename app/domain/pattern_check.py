"""Whether every pattern of a recipe matches something, as far as a checkpoint's headers tell."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.errors import PatternUnmatchedError, RecipeError
from app.domain.module_names import given_as, is_known, module_name
from app.domain.patterns import Patterns
from app.domain.plans import candidates, split_names
from app.domain.recipe import Recipe
from app.domain.tensors import StoredTensor

MOST_TESTS = 2_000_000  # of a pattern on a name
# Tied weights are stored under one name; modules of the other ones are not in the files.
_TIED = re.compile(r"embed|head|shared|pred")


def check_patterns(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], recipe: Recipe
) -> list[str]:
    """Refuse a recipe that has a pattern for nothing; a job asks the model itself.

    Args:
        tensors: of the checkpoint.
        config: its config.json.
        recipe: what to prune.

    Returns:
        Patterns of `ignore` that match nothing, where the recipe allows that; none for families
        whose names the files do not tell.

    Raises:
        PatternUnmatchedError: a pattern matches nothing.
        RecipeError: there are too many patterns for a model of so many tensors.
    """
    if len(tensors) * (len(recipe.targets) + len(recipe.ignore)) > MOST_TESTS:
        raise RecipeError(
            f"{len(recipe.targets)} targets and {len(recipe.ignore)} patterns to ignore are too "
            f"many for a model of {len(tensors)} tensors"
        )
    if not tensors or not is_known(config):
        return []
    prunable = {
        name
        for matrix in candidates(tensors, config, recipe)
        for whole in split_names(matrix, recipe)
        for name in _variants(whole, matrix.file_key, config)
    }
    if prunable:
        refuse_targets(Patterns(recipe.targets).unmatched(prunable))
    modules = {name for key in tensors for name in _variants(module_name(key, config), key, config)}
    unmatched = Patterns(recipe.ignore).unmatched(prunable | modules)
    unmatched = [pattern for pattern in unmatched if not _TIED.search(pattern)]
    if not recipe.allow_unmatched:
        refuse_ignored(unmatched)
    return unmatched


def refuse_targets(unmatched: list[str], hint: str = "") -> None:
    """Refuse targets that match nothing.

    Raises:
        PatternUnmatchedError: there are some.
    """
    if unmatched:
        raise PatternUnmatchedError(
            f"targets: {_listed(unmatched)} matches no matrix that can be pruned; projectors and "
            f"Q-Formers can with include_bridge, parts of a fused projection with split_qkv.{hint}"
        )


def refuse_ignored(unmatched: list[str], hint: str = "") -> None:
    """Refuse patterns to ignore that match nothing.

    Raises:
        PatternUnmatchedError: there are some.
    """
    if unmatched:
        raise PatternUnmatchedError(
            f"ignore: {_listed(unmatched)} matches no module of the model, so what it should keep "
            f"would be pruned; correct it, or set allow_unmatched.{hint}"
        )


def _listed(patterns: list[str]) -> str:
    more = f" (and {len(patterns) - 3} more)" if len(patterns) > 3 else ""  # noqa: PLR2004
    return ", ".join(map(repr, patterns[:3])) + more


def _variants(name: str, key: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Names a module may have: files of a base model lack the prefix of those with a head."""
    plain = name.removesuffix(".bias")
    yield from (*given_as(plain, key), name, key.removesuffix(".bias"))
    yield from (plain.partition(".")[2], f"model.{plain}", f"{config.get('model_type')}.{plain}")
