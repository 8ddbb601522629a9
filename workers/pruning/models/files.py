"""The files of a checkpoint directory: tensors, the parameters they belong to, and preferences.

Safetensors: https://huggingface.co/docs/safetensors (8 bytes little-endian header length, a JSON
header, then the data; offsets count from the end of the header).
transformers renames keys while loading (old layouts, base-model prefixes) and sometimes merges or
splits tensors. `map_file_keys` runs its own renaming over the keys that are really in the files, so
it holds for old and new layouts alike.
`config.json` may ask for other outputs, another attention kernel, chunks or another dtype, and
`generation_config.json` for sampling, beams or penalties. The files that leave with the result keep
all of it; the model in memory has none of it, so that it never changes what is computed.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Chunk,
    Split,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

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
        unread: file tensors that the model has no parameter for, as layers that predict further
            tokens (`mtp`).
    """

    places: dict[str, Place]
    converted: frozenset[str]
    unread: tuple[str, ...]

    def of(self, names: tuple[str, ...]) -> tuple[Place, ...]:
        """Places of a parameter known under all of `names` (several when tied, saved twice).

        None where its values cannot be written back one to one.
        """
        if not self.converted.isdisjoint(names):
            return ()
        return tuple(dict.fromkeys(self.places[name] for name in names if name in self.places))


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
    unread = []
    for key in sorted(checkpoint.tensors, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, parameters)
        if name not in parameters and key in parameters:
            name, pattern = rename_source_key(key, [], [], prefix, parameters)
        if pattern is None:
            places[name] = Place(key)
            if name not in parameters:
                unread.append(key)
            continue
        converter = by_pattern[pattern]
        first = converter.target_patterns[0]
        targets = [name.replace(first, target) for target in converter.target_patterns]
        if parameters.keys().isdisjoint(targets):
            unread.append(key)
        if not cuts_rows(converter) or not parameters.keys() >= set(targets):
            converted.update(targets)
            continue
        row = 0
        for target in targets:
            places[target] = Place(key, row)
            row += len(parameters[target])
    return FileKeys(places, frozenset(converted), tuple(unread))


def cuts_rows(converter: WeightConverter) -> bool:
    """Whether one file tensor is cut into parameters by rows and nothing else: no copy is made."""
    operations = converter.operations
    return (
        len(converter.source_patterns) == len(operations) == 1
        and isinstance(operations[0], Chunk | Split)
        and operations[0].dim == 0
        and getattr(operations[0], "num_shards_attribute", None) is None
    )


_PREFERENCES = frozenset(
    {
        *("return_dict", "use_return_dict", "torchscript"),
        *("output_attentions", "output_hidden_states", "output_router_logits"),
        *("use_cache", "chunk_size_feed_forward", "gradient_checkpointing", "pretraining_tp"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("_attn_implementation_autoset", "_flash_attn_2_enabled", "use_flash_attention"),
        *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
        *("dtype", "torch_dtype", "problem_type", "loss_type", "task_specific_params"),
    }
)
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".h5", ".msgpack"}
_KEPT = {"id2label", "label2id"}  # their keys are the user's own words
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@contextmanager
def plain_directory(directory: Path) -> Iterator[Path]:
    """A directory like the checkpoint's, for transformers to read.

    It links to the files, weights excepted; its `config.json` has no preferences.

    Raises:
        ModelLoadError: config.json is missing or broken.
    """
    plain = without_preferences(read_json(directory, "config.json"))
    with TemporaryDirectory(prefix="secateur-config-") as scratch:
        for path in directory.iterdir():
            if path.suffix not in _WEIGHTS and path.name != "config.json":
                (Path(scratch) / path.name).symlink_to(path.resolve())
        (Path(scratch) / "config.json").write_text(json.dumps(plain), encoding="utf-8")
        yield Path(scratch)


def without_preferences(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration and all its parts without what is a mere preference."""
    return {
        key: without_preferences(value) if isinstance(value, dict) and key not in _KEPT else value
        for key, value in config.items()
        if key not in _PREFERENCES
    }


def generate_plainly(model: Any, directory: Path, unsaid: Collection[int]) -> None:
    """Let a model generate greedily; the checkpoint decides the ids of special tokens alone.

    Args:
        model: any; one that does not generate stays as it is.
        directory: of the checkpoint.
        unsaid: tokens that no answer may have: the places of images.

    Raises:
        ModelLoadError: generation_config.json is broken.
    """
    saved: dict[str, Any] = {}
    if (directory / "generation_config.json").exists():
        saved = read_json(directory, "generation_config.json")
    writers = [model, getattr(model, "language_model", None)] if model.can_generate() else []
    for writer in writers:
        if isinstance(known := getattr(writer, "generation_config", None), GenerationConfig):
            writer.generation_config = _plain(known, saved if writer is model else {}, unsaid)


def _plain(known: Any, saved: dict[str, Any], unsaid: Collection[int]) -> GenerationConfig:
    ids = {name: getattr(known, name, None) for name in _IDS}
    ids |= {name: saved[name] for name in _IDS if _is_ids(saved.get(name))}
    kept = {name: value for name, value in ids.items() if value is not None}
    settings: Any = GenerationConfig  # it carries no annotations
    plain: GenerationConfig = settings(**kept, suppress_tokens=sorted(unsaid) or None)
    return plain


def _is_ids(value: Any) -> bool:
    ids = value if isinstance(value, list) else [value]
    return bool(ids) and all(type(each) is int for each in ids)
