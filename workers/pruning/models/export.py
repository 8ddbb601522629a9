"""Write the pruned checkpoint: a copy of the original in which only pruned tensors differ."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from app.domain.errors import ModelLoadError
from workers.pruning.models.checkpoint import (
    INDEX_FILE,
    SINGLE_FILE,
    Checkpoint,
    open_checkpoint,
    resolve_file,
)
from workers.pruning.models.file_keys import Place
from workers.pruning.models.structure import Matrix

# Config, tokenizer, processor, generation config, chat templates, licences. Never pickles,
# training state, code or hidden files.
_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm"}
_NAMES = {"LICENSE", "NOTICE", "LICENSE.md"}
_LEFT_OUT = {"trainer_state.json", "training_args.json", "adapter_config.json"}
# Folders beside the weights: chat templates; pooling and dense layers of sentence-transformers.
_FOLDERS = ("additional_chat_templates/*.jinja", "[0-9]_*/*.json", "[0-9]_*/*.safetensors")


def export_checkpoint(source: Path, destination: Path, matrices: Iterable[Matrix]) -> None:
    """Copy the checkpoint, with the weights of `matrices` as they are in memory now.

    Files, shards, index, metadata, key names and dtypes stay the original's: each shard is copied
    and only the bytes of the pruned tensors are replaced, so memory holds one tensor at a time.

    Args:
        source: directory the model was loaded from.
        destination: directory to fill; created if absent.
        matrices: what was pruned. Weights are rounded to the stored dtype where they differ.

    Raises:
        ModelLoadError: the source has changed since loading and no longer fits.
    """
    checkpoint = open_checkpoint(source)
    destination.mkdir(parents=True, exist_ok=True)
    if destination.resolve() == source.resolve():
        raise ModelLoadError("The pruned checkpoint cannot replace its own source directory.")
    for name in [*companions(source), *checkpoint.files]:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resolve_file(source, name), target)
    written: set[Place] = set()
    for matrix in matrices:
        for place in (Place(matrix.file_key, matrix.file_row), *map(Place, matrix.copies)):
            if place not in written:  # parts of one fused projection share a tensor
                _overwrite(checkpoint, destination, place, matrix.parameter.detach())
                written.add(place)


def _overwrite(
    checkpoint: Checkpoint, destination: Path, place: Place, weight: torch.Tensor
) -> None:
    stored = checkpoint.tensors.get(place.key)
    if (
        stored is None
        or stored.torch_dtype is None
        or stored.shape[1:] != tuple(weight.shape[1:])
        or stored.shape[0] < place.row + len(weight)
    ):
        raise ModelLoadError(f"The source checkpoint no longer holds {place.key} as it was loaded.")
    row_bytes = (stored.end - stored.begin) // stored.shape[0]
    raw = weight.to("cpu", stored.torch_dtype).contiguous().view(torch.uint8).numpy()
    with (destination / stored.file).open("r+b") as stream:
        stream.seek(stored.begin + place.row * row_bytes)
        stream.write(raw.tobytes())


def companions(source: Path) -> list[str]:
    """Names of the files that belong to a checkpoint beside its weights."""
    names = [
        path.name
        for path in sorted(source.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and path.name not in _LEFT_OUT
        and (path.name in _NAMES or path.suffix in _SUFFIXES)
        and not _is_stray_index(path)
    ]
    nested = [path for pattern in _FOLDERS for path in sorted(source.glob(pattern))]
    return names + [str(path.relative_to(source)) for path in nested]


def _is_stray_index(path: Path) -> bool:
    """Index of files that are not copied: of pickles, or beside a single safetensors file."""
    sharded = path.name == INDEX_FILE and not (path.parent / SINGLE_FILE).exists()
    return path.name.endswith(".index.json") and not sharded
