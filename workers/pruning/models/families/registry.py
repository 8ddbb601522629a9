"""Architecture name -> adapter class. A family registers by lying in `families/`."""

import functools
import importlib
import pkgutil

from workers.pruning.models import families
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.generic import GenericAdapter
from workers.pruning.models.loading import LoadedModel


@functools.cache
def known_adapters() -> dict[str, type[Adapter]]:
    """All architectures with a family of their own.

    Raises:
        ValueError: two families claim one architecture (a mistake in this package).
    """
    adapters: dict[str, type[Adapter]] = {}
    for info in pkgutil.iter_modules(families.__path__):
        module = importlib.import_module(f"{families.__name__}.{info.name}")
        for family in vars(module).values():
            if not (isinstance(family, type) and issubclass(family, Adapter)):
                continue
            if family.__module__ != module.__name__:
                continue
            for name in family.architectures:
                if adapters.setdefault(name, family) is not family:
                    raise ValueError(f"{name} is claimed by {adapters[name]} and by {family}")
    return adapters


def adapt(loaded: LoadedModel, *, split_qkv: bool = False, include_bridge: bool = False) -> Adapter:
    """The adapter of the model's family, or the generic one (which says so in its warnings)."""
    family = known_adapters().get(type(loaded.model).__name__, GenericAdapter)
    return family(loaded, split_qkv=split_qkv, include_bridge=include_bridge)
