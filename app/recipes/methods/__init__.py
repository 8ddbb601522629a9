"""Named methods, one a file: its parameters, its preset, and the importance it made known.

Modules are discovered: a new method is a new file.
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from app.recipes.method import Importance, Method, RouteMethod, StructureMethod, WeightMethod

_Base = TypeVar("_Base")
_Named = TypeVar("_Named", bound=Method)


def _classes(base: type[_Base]) -> Iterator[type[_Base]]:
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for each in vars(module).values():
            own = isinstance(each, type) and each.__module__ == module.__name__
            if own and issubclass(each, base):
                yield each


def _methods(base: type[_Named]) -> dict[str, type[_Named]]:
    named = [each for each in _classes(base) if "name" in vars(each)]
    return {each.name: each for each in sorted(named, key=lambda each: each.name)}


def _importances() -> dict[str, type[Importance]]:
    kinds = [(each.model_fields["kind"].default, each) for each in _classes(Importance)]
    return dict(sorted((kind, each) for kind, each in kinds if isinstance(kind, str)))


IMPORTANCES = _importances()
WEIGHT_METHODS = _methods(WeightMethod)  # type: ignore[type-abstract]
ROUTE_METHODS = _methods(RouteMethod)  # type: ignore[type-abstract]
STRUCTURE_METHODS = _methods(StructureMethod)  # type: ignore[type-abstract]
METHODS: dict[str, type[Method]] = {**WEIGHT_METHODS, **ROUTE_METHODS, **STRUCTURE_METHODS}
