"""Which tensor of the files each parameter came from.

transformers renames keys while loading (old layouts, base-model prefixes) and sometimes merges or
splits tensors. The mapping here runs its own renaming over the keys that are really in the files,
so it holds for old and new layouts alike.
"""

from collections import defaultdict
from dataclasses import dataclass

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from app.domain.errors import UnsupportedArchitectureError
from workers.pruning.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class FileKeys:
    """Parameter name -> names of its tensors in the files.

    Attributes:
        by_parameter: one-to-one mappings; a tied parameter has one entry per name it goes by.
        converted: parameters made of several tensors or of a part of one.
    """

    by_parameter: dict[str, str]
    converted: frozenset[str]

    def of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """File tensors of a parameter known under all of `names` (several when tied).

        Raises:
            UnsupportedArchitectureError: no tensor of the files is this parameter alone.
        """
        keys = tuple(dict.fromkeys(self.by_parameter[n] for n in names if n in self.by_parameter))
        if not keys or not self.converted.isdisjoint(names):
            raise UnsupportedArchitectureError(
                f"{names[0]} is merged from, or split off, other tensors of the files when loaded, "
                "so its zeros cannot be written back. Save the checkpoint in the current layout."
            )
        return keys


def map_file_keys(model: PreTrainedModel, checkpoint: Checkpoint) -> FileKeys:
    """Match file tensors with parameters, in the order and by the rules transformers loads by."""
    conversions = get_model_conversion_mapping(model)
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    targets_of: dict[str, list[str]] = defaultdict(list)
    for converter in converters:
        for source in converter.source_patterns:
            targets_of[source] = converter.target_patterns
    parameters = model.state_dict()
    prefix = model.base_model_prefix
    by_parameter: dict[str, str] = {}
    converted: set[str] = set()
    for key in sorted(checkpoint.tensors, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, parameters)
        if name not in parameters and key in parameters:
            name, pattern = rename_source_key(key, [], [], prefix, parameters)
        if pattern is None:
            by_parameter[name] = key
        else:
            first, *others = targets_of[pattern]
            converted |= {name, *(name.replace(first, other) for other in others)}
    return FileKeys(by_parameter, frozenset(converted))
