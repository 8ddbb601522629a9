"""The safetensors files of a checkpoint directory: which tensor lies where.

File format: https://huggingface.co/docs/safetensors (8 bytes little-endian header length, a JSON
header, then the data; offsets count from the end of the header).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import ModelLoadError
from app.planning.model_files import headers as tensors
from app.planning.model_files.files import (
    INDEX_FILE,
    MAX_INDEX,
    SINGLE_FILE,
    parse_index,
    read_file,
    select,
)
from app.planning.model_files.headers import read_header
from workers.pruning.memory import Memory

_MAX_HEADER = 100_000_000  # bytes; the limit of the format's own reader
_MAX_JSON = 64 << 20  # bytes
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_OTHER_DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class StoredTensor(tensors.StoredTensor):
    """A tensor as its file's header describes it."""

    __slots__ = ()

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """Floating dtype as torch names it; None for integers and 8-bit floats."""
        return _DTYPES.get(self.dtype)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Headers of all safetensors files of a directory; no tensor data is read."""

    directory: Path
    tensors: dict[str, StoredTensor]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the safetensors files, sorted."""
        return tuple(sorted({tensor.file for tensor in self.tensors.values()}))


def open_checkpoint(directory: Path) -> Checkpoint:
    """Read the headers of the directory's safetensors files, single or sharded.

    Raises:
        ModelLoadError: no safetensors, a shard is missing, or a file is broken or truncated.
    """
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    if single.exists():
        return Checkpoint(directory, _read_header(directory, SINGLE_FILE))
    if not index.exists():
        raise ModelLoadError(
            f"{directory.name} has neither {SINGLE_FILE} nor {INDEX_FILE}. Only safetensors are "
            "loaded; convert other weight files with save_pretrained(..., safe_serialization=True)."
        )
    places = parse_index(read_file(resolve_file(directory, INDEX_FILE), MAX_INDEX))
    headers = (_read_header(directory, file) for file in sorted(set(places.values())))
    return Checkpoint(directory, select(places, headers))


def map_tensors(checkpoint: Checkpoint, memory: Memory) -> dict[str, torch.Tensor]:
    """Every tensor as a view of its file, in which nothing is read yet.

    Raises:
        ModelLoadError: a tensor is of a kind torch does not know.
    """
    directory = memory.weights or checkpoint.directory
    for name in checkpoint.files:
        resolve_file(directory, name)
    files = {name: memory.map(directory / name) for name in checkpoint.files}
    found = {}
    for key, place in checkpoint.tensors.items():
        raw = torch.empty(0, dtype=torch.uint8)
        raw.set_(files[place.file], place.begin, (place.end - place.begin,))  # type: ignore[call-overload]  # torch's own overload
        stored = place.torch_dtype or _other_dtype(key, place)
        if place.begin % stored.itemsize:  # a writer that did not pad its header
            raw = memory.place(raw)
        found[key] = raw.view(stored).view(place.shape)
    return found


def resolve_file(directory: Path, name: str) -> Path:
    """Path of a file of the checkpoint, links followed.

    A link may not lead out of the directory, save for the hub cache's own layout
    (`snapshots/<revision>/file` -> `blobs/<hash>`).

    Raises:
        ModelLoadError: the file is missing or lies outside the checkpoint.
    """
    root = directory.resolve()
    path = (root / name).resolve()
    homes = [root]
    if root.parent.name == "snapshots":
        homes.append(root.parent.parent / "blobs")
    if not any(path.is_relative_to(home) for home in homes):
        raise ModelLoadError(f"{name} leads out of the checkpoint directory; refused.")
    if not path.is_file():
        raise ModelLoadError(f"{name} is missing from the checkpoint. Fetch it again.")
    return path


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """Parse a JSON object of the checkpoint.

    Raises:
        ModelLoadError: missing, not JSON, or not an object.
    """
    limits = JsonLimits(_MAX_JSON, values=1 << 21, unique=False)
    try:
        return parse_object(read_file(resolve_file(directory, name), _MAX_JSON), limits)
    except JsonError as error:
        raise ModelLoadError(f"{name} is not valid JSON: {error}. Fetch it again.") from error


def write_tensors(
    file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, one tensor after the other: no second copy of them all is made."""
    names = {dtype: name for name, dtype in (_DTYPES | _OTHER_DTYPES).items()}
    # Wide ones first: then each begins at a multiple of its item size.
    order = sorted(tensors, key=lambda key: -tensors[key].itemsize)
    layout = {key: (names[tensors[key].dtype], tensors[key].shape) for key in order}
    with file.open("wb") as stream:
        stream.write(header_of(layout, metadata))
        for value in map(tensors.__getitem__, order):
            raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            stream.write(raw.numpy().data)


def header_of(
    layout: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]
) -> bytes:
    """The beginning of a safetensors file whose tensors follow in this order.

    Args:
        layout: dtype, as the format spells it, and shape by name.
        metadata: strings by name.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    sizes = {name: dtype.itemsize for name, dtype in (_DTYPES | _OTHER_DTYPES).items()}
    end = 0
    for key, (dtype, shape) in layout.items():
        begin, end = end, end + math.prod(shape) * sizes[dtype]
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _other_dtype(key: str, tensor: StoredTensor) -> torch.dtype:
    if (found := _OTHER_DTYPES.get(tensor.dtype)) is None:
        raise ModelLoadError(f"{key} is stored as {tensor.dtype}, which cannot be loaded.")
    return found


def _read_header(directory: Path, file: str) -> dict[str, StoredTensor]:
    try:
        found = read_header(resolve_file(directory, file), _MAX_HEADER)
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read ({error.strerror})") from error
    return {
        key: StoredTensor(each.shape, each.dtype, file, each.begin, each.end)
        for key, each in found.items()
    }
