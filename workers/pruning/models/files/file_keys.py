"""Which tensor of the files each parameter came from.

transformers renames keys while loading (old layouts, base-model prefixes) and sometimes merges or
splits tensors. The mapping here runs its own renaming over the keys that are really in the files,
so it holds for old and new layouts alike.
"""

from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Chunk,
    Split,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from app.errors import UnsupportedArchitectureError
from workers.pruning.models.files.checkpoint import Checkpoint


class Place(NamedTuple):
    """Where a parameter lies: a tensor of the files, and its first row there."""

    key: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class FileKeys:
    """Parameter name -> its place in the files.

    Attributes:
        places: parameters that are a file tensor, or consecutive rows of one. A tied parameter
            has one entry per name it goes by.
        converted: parameters put together or computed from file tensors.
    """

    places: dict[str, Place]
    converted: frozenset[str]

    def of(self, names: tuple[str, ...]) -> tuple[Place, ...]:
        """Places of a parameter known under all of `names` (several when tied, saved twice).

        Raises:
            UnsupportedArchitectureError: its values cannot be written back one to one.
        """
        places = tuple(dict.fromkeys(self.places[name] for name in names if name in self.places))
        if not places or not self.converted.isdisjoint(names):
            raise UnsupportedArchitectureError(
                f"{names[0]} is computed from other tensors of the files when loaded, so its "
                "zeros cannot be written back. Save the checkpoint in the current layout."
            )
        return places


def map_file_keys(model: PreTrainedModel, checkpoint: Checkpoint) -> FileKeys:
    """Match file tensors with parameters, in the order and by the rules transformers loads by."""
    conversions = get_model_conversion_mapping(model)
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    by_pattern = {source: entry for entry in converters for source in entry.source_patterns}
    parameters = model.state_dict()
    prefix = model.base_model_prefix
    places: dict[str, Place] = {}
    converted: set[str] = set()
    for key in sorted(checkpoint.tensors, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, parameters)
        if name not in parameters and key in parameters:
            name, pattern = rename_source_key(key, [], [], prefix, parameters)
        if pattern is None:
            places[name] = Place(key)
            continue
        converter = by_pattern[pattern]
        first = converter.target_patterns[0]
        targets = [name.replace(first, target) for target in converter.target_patterns]
        if not _cuts_rows(converter) or not parameters.keys() >= set(targets):
            converted.update(targets)
            continue
        row = 0
        for target in targets:
            places[target] = Place(key, row)
            row += len(parameters[target])
    return FileKeys(places, frozenset(converted))


def _cuts_rows(converter: WeightConverter) -> bool:
    """Whether one file tensor is cut into parameters by rows and nothing else."""
    operations = converter.operations
    return (
        len(converter.source_patterns) == len(operations) == 1
        and isinstance(operations[0], Chunk | Split)
        and operations[0].dim == 0
        and getattr(operations[0], "num_shards_attribute", None) is None
    )
