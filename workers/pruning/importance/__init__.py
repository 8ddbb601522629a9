"""Which weights go first: one criterion, one file. Modules are discovered.

A criterion computes the importance of `app.recipes.methods` whose settings it names.
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from app.recipes.recipe import Recipe
from workers.pruning.importance.criterion import Criterion


def _criteria() -> Iterator[type[Criterion]]:
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for each in vars(module).values():
            own = isinstance(each, type) and each.__module__ == module.__name__
            if own and issubclass(each, Criterion) and "importance" in vars(each):
                yield each


CRITERIA = {criterion.importance: criterion for criterion in _criteria()}


def find_criterion(recipe: Recipe) -> Criterion:
    """The criterion that computes the recipe's importance."""
    return CRITERIA[type(recipe.importance)](recipe.importance, recipe.seed)
