"""Write the pruned checkpoint and read it back.

It is a copy of the original in which only pruned tensors differ.
"""

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from app.domain.job_result import Sizes
from app.errors import ModelLoadError
from app.packed.pack import compress, pack
from app.planning.model_files.files import companions, file_names
from workers.pruning.memory import Memory
from workers.pruning.models.files import (
    Checkpoint,
    Place,
    StoredTensor,
    open_checkpoint,
    resolve_file,
)
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


@dataclass(frozen=True, slots=True)
class Weights:
    """What one reading of a checkpoint's weights tells of them.

    Attributes:
        sizes: of the files, and of what a packed download sends in their place.
        digests: SHA-256 of each file, by path.
        zeros: of each tensor in whose type they can be counted, by key.
    """

    sizes: Sizes
    digests: Mapping[str, str]
    zeros: Mapping[str, int]


def read_weights(directory: Path) -> Weights:
    """Read the checkpoint's files, each once; as many at a time as torch may use threads.

    Args:
        directory: the checkpoint; masks and other safetensors beside it are left out.

    Raises:
        ModelLoadError: it is no checkpoint.
    """
    tensors: dict[str, list[tuple[str, StoredTensor]]] = defaultdict(list)
    for key, tensor in open_checkpoint(directory).tensors.items():
        tensors[tensor.file].append((key, tensor))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        files = list(pool.map(lambda name: _read_file(directory, name, tensors[name]), tensors))
    totals = Counter[str]()
    for each in files:
        totals.update(each.sizes.model_dump())
    return Weights(
        Sizes(**totals),
        {name: digest for each in files for name, digest in each.digests.items()},
        {key: zeros for each in files for key, zeros in each.zeros.items()},
    )


def _read_file(directory: Path, name: str, tensors: Iterable[tuple[str, StoredTensor]]) -> Weights:
    with (directory / name).open("rb") as stream:
        reading = _Reading(stream, tensors)
        packed = sum(map(len, compress(pack(reading, look=reading.count))))
        while reading.read(1 << 20):
            pass  # behind the last tensor there should be nothing
        dense = stream.tell()
    sizes = Sizes(dense=dense, packed=packed, elements=reading.elements, nonzeros=reading.nonzeros)
    return Weights(sizes, {name: reading.digest.hexdigest()}, reading.zeros)


class _Reading:
    """A file of weights that is read from its beginning to its end, hashed and counted on the way.

    Attributes:
        digest: SHA-256 of what was read.
        elements: that were counted.
        nonzeros: those among them with a bit that is set.
        zeros: by tensor, negative ones too.
    """

    def __init__(self, stream: BinaryIO, tensors: Iterable[tuple[str, StoredTensor]]) -> None:
        self._stream = stream
        self._left = sorted(tensors, key=lambda each: -each[1].begin)  # the next one is the last
        self.digest = hashlib.sha256()
        self.elements = self.nonzeros = 0
        # Zero is stored as a byte that is zero, in integers and in FP8.
        self.zeros = {
            key: 0 for key, each in self._left if each.torch_dtype is not None or each.width == 1
        }

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.digest.update(piece)
        return piece

    def seek(self, offset: int) -> int:
        if offset != self._stream.tell():
            raise UnsupportedOperation("what is skipped would not be hashed")
        return offset

    def count(self, values: npt.NDArray[Any]) -> None:
        """Count the elements that were read last."""
        nonzeros = int(np.count_nonzero(values))
        self.elements += values.size
        self.nonzeros += nonzeros
        end = self._stream.tell()
        while self._left and self._left[-1][1].end < end:
            self._left.pop()
        if not self._left or self._left[-1][1].begin >= end:
            return  # of a tensor that the index does not name
        key, tensor = self._left[-1]
        if tensor.torch_dtype is not None:
            nonzeros = int(np.count_nonzero(values << 1))  # without the sign
        if key in self.zeros:
            self.zeros[key] += values.size - nonzeros
