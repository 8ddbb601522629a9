"""Writes the files of a checkpoint anew, with what is left of each tensor.

Names, types, shards and their metadata stay as they are; a shard of which nothing is left goes. One
tensor at a time is in memory, and each file takes the place of the old one when it is whole.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from app.planning.model_files.files import CONFIG_FILE, INDEX_FILE
from app.planning.model_files.headers import read_header
from app.recipes.structure import WiringError
from workers.pruning.memory import Memory, stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import (
    Checkpoint,
    FileKeys,
    header_of,
    map_file_keys,
    open_checkpoint,
    read_json,
)

_PIECE = 1 << 24  # bytes copied together


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a parameter.

    Attributes:
        dimension: along which it is cut.
        indices: that stay, ascending.
    """

    dimension: int
    indices: Tensor

    def of(self, tensor: Tensor) -> Tensor:
        """The rest of a tensor."""
        return tensor.index_select(self.dimension, self.indices.to(tensor.device))


@dataclass(frozen=True, slots=True)
class Changed:
    """A tensor of the files that changes: its rows are those of these parameters, cut."""

    parts: list[tuple[Tensor, Cut | None]]

    @property
    def shape(self) -> tuple[int, ...]:
        """What it will have."""
        shapes = [list(value.shape) for value, _ in self.parts]
        for shape, (_, cut) in zip(shapes, self.parts, strict=True):
            if cut is not None:
                shape[cut.dimension] = len(cut.indices)
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def value(self) -> Tensor:
        """The tensor, newly made."""
        found = [value if cut is None else cut.of(value) for value, cut in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found)


@dataclass(slots=True)
class Reduction:
    """What a checkpoint becomes.

    Attributes:
        config: its config.json.
        cuts: what stays of parameters, by name; None for one that changed and stays whole.
        tensors: what stays of tensors that are as they are in the files, by their keys.
        names: what tensors are to be called, by their keys; None for one that goes.
        stand_in: inside, the model in memory computes what the reduced one will.
    """

    config: dict[str, Any]
    cuts: dict[str, Cut | None] = field(default_factory=dict)
    tensors: dict[str, Cut] = field(default_factory=dict)
    names: dict[str, str | None] = field(default_factory=dict)
    stand_in: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True)
class Rest:
    """A tensor of the files, cut."""

    file: Path
    key: str
    whole: tuple[int, ...]
    cut: Cut

    @property
    def shape(self) -> tuple[int, ...]:
        """What it will have."""
        at = self.cut.dimension
        return (*self.whole[:at], len(self.cut.indices), *self.whole[at + 1 :])

    def value(self) -> Tensor:
        """The tensor, newly made."""
        with safe_open(self.file, framework="pt") as tensors:
            return self.cut.of(tensors.get_tensor(self.key))


class Files:
    """Where the parameters of a model lie in its files."""

    def __init__(self, adapter: Adapter) -> None:
        """Look them up."""
        model = adapter.model
        self._keys: FileKeys = map_file_keys(model, adapter.loaded.checkpoint)
        self._parameters: dict[str, nn.Parameter] = dict(
            model.named_parameters(remove_duplicate=False)
        )
        self._names: dict[int, list[str]] = defaultdict(list)
        for name, parameter in self._parameters.items():
            self._names[id(stored(parameter))].append(name)

    def check(self, names: Iterable[str]) -> None:
        """Refuse parameters that cannot be written back one to one.

        Raises:
            WiringError: the message names one.
        """
        for name in names:
            if not self._keys.of(tuple(self._also(name))):
                raise WiringError(
                    f"{name} is put together from other tensors of the files, which cannot be cut"
                )

    def changed(self, cuts: Mapping[str, Cut | None]) -> dict[str, "Changed"]:
        """The new value of each tensor of the files that changes, by key."""
        cut = {id(stored(self._parameters[name])): each for name, each in cuts.items()}
        touched = {place.key for name in cuts for place in self._keys.of(tuple(self._also(name)))}
        parts: dict[str, dict[int, str]] = defaultdict(dict)
        for name, place in self._keys.places.items():
            if place.key in touched:
                parts[place.key][place.row] = name

        found = {}
        for key, rows in parts.items():
            values = [stored(self._parameters[name]) for _, name in sorted(rows.items())]
            found[key] = Changed([(value.detach(), cut.get(id(value))) for value in values])
        return found

    def _also(self, name: str) -> list[str]:
        return self._names[id(stored(self._parameters[name]))]


def write_reduced(directory: Path, adapter: Adapter, reduction: Reduction) -> None:
    """Write what is left of a checkpoint in its place.

    Args:
        directory: the checkpoint that the model was loaded from, or a copy of it.
        adapter: the model, with what changed in memory or in these files.
        reduction: what it becomes.

    Raises:
        ModelLoadError: it is not the checkpoint that was loaded.
    """
    checkpoint = open_checkpoint(directory)
    changed: dict[str, Changed | Rest] = {**Files(adapter).changed(reduction.cuts)}
    for key, cut in reduction.tensors.items():
        tensor = checkpoint.tensors[key]
        changed[key] = Rest(directory / tensor.file, key, tensor.shape, cut)
    places: dict[str, str] = {}
    for file in checkpoint.files:
        keys = [key for key, tensor in checkpoint.tensors.items() if tensor.file == file]
        left = {name: key for key in keys if (name := reduction.names.get(key, key)) is not None}
        if left:
            _write(directory / file, checkpoint, left, changed, adapter.memory)
        else:
            (directory / file).unlink()
        places |= dict.fromkeys(left, file)
    if (directory / INDEX_FILE).exists():
        _write_index(directory, places)
    _write_json(directory / CONFIG_FILE, reduction.config)


def _write(
    file: Path,
    checkpoint: Checkpoint,
    left: Mapping[str, str],
    changed: Mapping[str, Changed | Rest],
    memory: Memory,
) -> None:
    """Write a file beside, then put it in the place of the old one."""
    with safe_open(file, framework="pt") as old:
        metadata = old.metadata() or {}
    order = sorted(left, key=lambda name: checkpoint.tensors[left[name]].begin)
    layout = {
        name: (
            checkpoint.tensors[left[name]].dtype,
            changed.get(left[name], checkpoint.tensors[left[name]]).shape,
        )
        for name in order
    }
    new = file.with_name(f"{file.name}.new")
    with file.open("rb") as source, new.open("wb") as stream:
        stream.write(header_of(layout, metadata))
        for name in order:
            tensor = checkpoint.tensors[left[name]]
            if (new_one := changed.get(left[name])) is not None:
                value = new_one.value().to("cpu", tensor.torch_dtype).contiguous()
                stream.write(value.view(-1).view(torch.uint8).numpy().data)
                memory.release()
                continue
            source.seek(tensor.begin)
            for begin in range(tensor.begin, tensor.end, _PIECE):
                stream.write(source.read(min(_PIECE, tensor.end - begin)))
    new.replace(file)


def _write_index(directory: Path, places: Mapping[str, str]) -> None:
    index = read_json(directory, INDEX_FILE)
    index["weight_map"] = dict(sorted(places.items()))
    files = [read_header(directory / file) for file in sorted(set(places.values()))]
    tensors = [tensor for file in files for tensor in file.values()]
    told = index.get("metadata")
    if isinstance(told, dict):
        if "total_size" in told:
            told["total_size"] = sum(tensor.bytes for tensor in tensors)
        if "total_parameters" in told:
            told["total_parameters"] = sum(tensor.numel for tensor in tensors)
    _write_json(directory / INDEX_FILE, index)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
