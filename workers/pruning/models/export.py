"""Write the pruned checkpoint: a copy of the original in which only pruned tensors differ."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from app.errors import ModelLoadError
from app.planning.model_files.files import companions, file_names
from workers.pruning.memory import Memory
from workers.pruning.models.files import Checkpoint, Place, open_checkpoint, resolve_file
from workers.pruning.models.layout.structure import Matrix


def export_checkpoint(source: Path, destination: Path, matrices: Iterable[Matrix]) -> None:
    """Copy the checkpoint, with the weights of `matrices` as they are in memory now.

    Raises:
        ModelLoadError: the source has changed since loading and no longer fits.
    """
    copy_checkpoint(source, destination)
    write_back(destination, matrices, Memory())


def copy_checkpoint(source: Path, destination: Path) -> None:
    """Copy what belongs to a checkpoint: weights, index, configuration, tokenizer, licence.

    Args:
        source: directory the model is loaded from.
        destination: directory to fill; created if absent.

    Raises:
        ModelLoadError: a file is missing, or the destination is the source.
    """
    checkpoint = open_checkpoint(source)
    destination.mkdir(parents=True, exist_ok=True)
    if destination.resolve() == source.resolve():
        raise ModelLoadError("The pruned checkpoint cannot replace its own source directory.")
    for name in [*companions(file_names(source)), *checkpoint.files]:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resolve_file(source, name), target)


def write_back(directory: Path, matrices: Iterable[Matrix], memory: Memory) -> None:
    """Write matrices to the checkpoint they came from, or to a copy of it.

    Files, shards, index, metadata, key names and dtypes stay; only the bytes of the matrices'
    tensors are replaced, one tensor at a time, and only where they are not written already.

    Args:
        directory: the checkpoint.
        matrices: what was pruned. Weights are rounded to the stored dtype where they differ.
        memory: of the model.

    Raises:
        ModelLoadError: the checkpoint is not the one they were loaded from.
    """
    checkpoint = open_checkpoint(directory)
    done: set[Place] = set()
    for matrix in matrices:
        for place in (Place(matrix.file_key, matrix.file_row), *map(Place, matrix.copies)):
            if place not in done:  # parts of one fused projection share a tensor
                _overwrite(checkpoint, directory, place, matrix.stored, memory)
                done.add(place)
        memory.release()


def _overwrite(
    checkpoint: Checkpoint, directory: Path, place: Place, weight: torch.Tensor, memory: Memory
) -> None:
    stored = checkpoint.tensors.get(place.key)
    if (
        stored is None
        or stored.torch_dtype is None
        or stored.shape[1:] != tuple(weight.shape[1:])
        or stored.shape[0] < place.row + len(weight)
    ):
        raise ModelLoadError(f"The checkpoint no longer holds {place.key} as it was loaded.")
    offset = stored.begin + place.row * ((stored.end - stored.begin) // stored.shape[0])
    if weight.dtype == stored.torch_dtype and memory.holds(weight, directory / stored.file, offset):
        return
    raw = weight.to("cpu", stored.torch_dtype).contiguous().view(torch.uint8).numpy()
    with (directory / stored.file).open("r+b") as stream:
        stream.seek(offset)
        stream.write(raw.data)
