"""What of a run is in memory: one block's weights, and activations up to a limit.

A checkpoint's files are mapped into memory and its tensors are views of them, so a weight takes
memory from when it is touched until it is let go. Where the files are a run's own output, they are
mapped shared: what is written to a weight is written to the file, and every page may be let go at
any time. The system then holds what it has room for, and a process what it works on.

A weight that the model computes with in another dtype, or on another device, than it is stored in
is shown as `Converted`: a parameter without values of its own. An operation that reads it gets a
copy of the stored values, made there and then. The copies of one block are kept until a weight of
another block is read: however many batches go through a block, it is copied once, and no two blocks
are kept at a time. What is written to a stored weight is seen by the next operation.

A model on a GPU is shown so as a whole: its files are mapped on the host, one block lies on the
device and the next one is on its way there (`Ahead`); what lies outside of all blocks (embeddings,
norms, the head) is copied once and stays. Activations stay on the device as far as there is room,
then wait in the host's memory, then on disk.
"""

import ctypes
import mmap
import os
import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkstemp
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from workers.pruning.ahead import Ahead

_SMALL = 1 << 16  # bytes: smaller tensors are not worth a file
_LIBC = ctypes.CDLL(None)
_TRIM = getattr(_LIBC, "malloc_trim", None)  # of glibc


# Of torch on the CPU, of CUDA and HIP, and of cuBLAS, cuSOLVER, cuDNN and cuSPARSE.
_RAN_OUT = re.compile(
    r"DefaultCPUAllocator|not enough memory|Cannot allocate memory|std::bad_alloc"
    r"|out of memory|OutOfMemory|ALLOC(ATION)?_FAILED",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the host or of a device, by type or in a library's words."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and bool(_RAN_OUT.search(str(error))))


def trim() -> None:
    """Give back what was freed: glibc keeps pieces between others, and a walk frees large ones."""
    if _TRIM is not None:
        _TRIM(0)


class Memory:
    """Decides what stays.

    Attributes:
        weights: directory of the shards to work on; None to leave the model's own as they are and
            hold what is written to weights in memory.
    """

    def __init__(
        self,
        weights: Path | None = None,
        *,
        activations: int | None = None,
        scratch: Path | None = None,
        on_device: int | None = None,
    ) -> None:
        """Begin with nothing in memory.

        Args:
            weights: directory with a copy of the checkpoint's shards that pruning may write to.
            activations: bytes of activations to hold between blocks; None for any number.
            scratch: directory for those beyond; None for the system's.
            on_device: bytes of activations to hold on a GPU; None for any number. Those beyond
                count among `activations`.
        """
        self.weights = weights
        self._room = {"cpu": activations, "device": on_device}
        self._scratch = scratch
        self._away: dict[int, torch.device] = {}
        self._files: dict[Path, torch.UntypedStorage] = {}
        self._placed: list[torch.UntypedStorage] = []
        self._spilled: dict[int, int] = {}
        self._current: nn.Module | None = None

    def map(self, file: Path) -> torch.UntypedStorage:
        """A file as memory; nothing is read yet."""
        shared = self.weights is not None
        storage = _mapped(str(file), file.stat().st_size, shared=shared)
        if shared:
            self._files[file] = storage
        return storage

    def holds(self, tensor: Tensor, file: Path, offset: int) -> bool:
        """Whether the tensor is a view of the mapped file at that place: writing writes there."""
        storage = self._files.get(file)
        return storage is not None and storage.data_ptr() + offset == tensor.data_ptr()

    def place(self, weights: Tensor) -> Tensor:
        """A copy of weights that cannot be used as they lie in their file; let go with the others.

        Where nothing else is let go, it stays in memory.
        """
        if self.weights is None or weights.nbytes < _SMALL:
            return weights.clone()
        storage = _unlinked(weights.nbytes, self._scratch)
        self._placed.append(storage)
        return _copied(weights, storage)

    def release(self) -> None:
        """Let go of all that lies in files; each page comes back when touched."""
        for storage in (*self._files.values(), *self._placed):
            _let_go(storage.data_ptr(), storage.nbytes())
        for address, size in self._spilled.items():
            _let_go(address, size)

    def watch(self, blocks: Iterable[nn.Module]) -> None:
        """Let go of all weights whenever another one of the blocks begins."""
        if self.weights is not None:
            for block in blocks:
                block.register_forward_pre_hook(lambda block, _args: self.enter(block))

    def enter(self, block: nn.Module) -> None:
        """Let go of all weights if another block was at work."""
        if block is not self._current:
            self._current = block
            self.release()

    def keep(self, tensor: Tensor) -> Tensor:
        """The tensor, or a copy of it where there is more room: on the host, else on disk."""
        place = "cpu" if tensor.device.type == "cpu" else "device"
        room = self._room[place]
        if room is None or tensor.nbytes < _SMALL:
            return tensor
        if tensor.nbytes <= room:
            self._room[place] = room - tensor.nbytes
            weakref.finalize(tensor, self._regain, place, tensor.nbytes).atexit = False
            return tensor
        if place == "cpu":
            return self.spill(tensor)
        copy = self.keep(tensor.cpu())
        self._away[id(copy)] = tensor.device
        weakref.finalize(copy, self._away.pop, id(copy), None).atexit = False
        return copy

    def has_room(self, size: int, device: torch.device) -> bool:
        """Whether so many bytes of activations may be held there beside those that are."""
        room = self._room["cpu" if device.type == "cpu" else "device"]
        return room is None or size <= room

    def back(self, kept: Any) -> Any:
        """What was kept, on the device that it came from; in any nesting, all else as it is."""
        if not self._away:
            return kept

        def there(tensor: Tensor) -> Tensor:
            device = self._away.get(id(tensor))
            return tensor if device is None else tensor.to(device)

        return tree_map_only(Tensor, there, kept)

    def spill(self, tensor: Tensor) -> Tensor:
        """A copy of the tensor in a file that goes with the tensor, or with the process."""
        storage = _unlinked(tensor.nbytes, self._scratch)
        copy = _copied(tensor, storage)
        self._spilled[copy.data_ptr()] = storage.nbytes()
        weakref.finalize(copy, self._spilled.pop, copy.data_ptr(), None).atexit = False
        return copy

    def rest(self, tensor: Tensor) -> None:
        """Let go of a tensor that lies in a file; any other stays as it is."""
        if (size := self._spilled.get(tensor.data_ptr())) is not None:
            _let_go(tensor.data_ptr(), size)

    def _regain(self, place: str, size: int) -> None:
        room = self._room[place]
        if room is not None:
            self._room[place] = room + size


def _unlinked(size: int, directory: Path | None) -> torch.UntypedStorage:
    """Memory in a file without a name: the system frees it with the last reference, come what may.

    The space is taken at once: a full disk raises OSError here, and kills nobody later.
    """
    handle, name = mkstemp(prefix="secateur-", dir=directory)
    try:
        os.posix_fallocate(handle, 0, size)
        return _mapped(name, size, shared=True)
    finally:
        os.close(handle)
        Path(name).unlink()


def _mapped(file: str, size: int, *, shared: bool) -> torch.UntypedStorage:
    storage = torch.UntypedStorage.from_file(file, shared, size)
    return cast("torch.UntypedStorage", storage)  # torch annotates its base class


def _copied(tensor: Tensor, storage: torch.UntypedStorage) -> Tensor:
    """A contiguous copy of the tensor in the storage, which is let go."""
    copy: Tensor = tensor.new_empty(0).set_(storage, 0, tensor.shape)  # type: ignore[call-overload]  # torch's own overload
    copy.copy_(tensor)
    _let_go(storage.data_ptr(), storage.nbytes())
    return copy


def _let_go(address: int, size: int) -> None:
    _LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


_aten = torch.ops.aten


def stored(parameter: Tensor) -> Tensor:
    """The tensor that the values of a model's parameter lie in."""
    return parameter.origin if isinstance(parameter, Converted) else parameter


_PLAIN = {Tensor, nn.Parameter}


def fetched(parameter: Tensor) -> Tensor:
    """The stored values of a parameter on the device that the model computes on.

    Where they lie there, what is written to the result is stored; elsewhere it is once
    `put_back` is told.
    """
    if not isinstance(parameter, Converted) or parameter.device == parameter.origin.device:
        return stored(parameter).detach()
    if parameter.dtype == parameter.origin.dtype:
        return parameter.copies.of(parameter).detach()
    return parameter.origin.detach().to(parameter.device)


def put_back(parameter: Tensor, target: Tensor, values: Tensor) -> None:
    """Store what was written to fetched values.

    Args:
        parameter: whose values were fetched.
        target: the part of the stored values that is meant.
        values: the same part of the fetched ones.
    """
    if isinstance(parameter, Converted) and values.device != target.device:
        target.copy_(_on_host(values))
        if parameter.dtype == parameter.origin.dtype and type(parameter.origin) in _PLAIN:
            parameter.copies.is_current(parameter)


def _on_host(values: Tensor) -> Tensor:
    if values.device.type != "cuda":
        return values.cpu()
    pinned = torch.empty_like(values, device="cpu", pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return pinned


def converted(origin: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A new tensor with the stored values."""
    if device == origin.device:
        return origin.to(dtype, copy=True)
    if type(origin) not in _PLAIN:  # put together where its parts lie
        origin = origin.to(origin.dtype, copy=True)
    return origin.to(device, dtype)


class Copies:
    """Weights as the model computes with them: those outside of all blocks, and of one block.

    Attributes:
        device: where they lie; None for where each is stored.
    """

    def __init__(self, device: torch.device | None = None, ahead: Ahead | None = None) -> None:
        """Begin with none.

        Args:
            device: see above.
            ahead: copies the block that is read next; None to copy each weight when it is read.
        """
        self.device = device
        self._ahead = ahead
        self._block: nn.Module | None = None
        self._found: dict[Tensor, tuple[int, Tensor]] = {}
        self._outside: dict[Tensor, tuple[int, Tensor]] = {}

    def of(self, weight: "Converted") -> Tensor:
        """The copy; on the host one of a weight outside of all blocks is not kept."""
        origin, version = weight.origin, weight.origin._version  # noqa: SLF001 - counts writes
        kept = self._found
        if weight.block is None:
            if self.device is None:
                return converted(origin, origin.device, weight.dtype)
            kept = self._outside
        elif weight.block is not self._block:
            self._block = weight.block
            self._found.clear()
            if self._ahead is not None:
                self._found |= self._ahead.take(weight.block)
        known, copy = kept.pop(origin, (version, None))
        if copy is None or known != version:
            copy = None  # freed before the next one is made
            copy = converted(origin, self.device or origin.device, weight.dtype)
        elif copy.dtype != weight.dtype:
            copy = copy.to(weight.dtype)
        kept[origin] = version, copy
        return copy

    def is_current(self, weight: "Converted") -> None:
        """What was written to the copy is stored now."""
        kept = self._outside if weight.block is None else self._found
        if weight.origin in kept:
            kept[weight.origin] = weight.origin._version, kept[weight.origin][1]  # noqa: SLF001 - counts writes


class Converted(Tensor):
    """Shape of a stored weight, another dtype or device, no values of its own; read only.

    Attributes:
        origin: the weight.
        block: where it lies; None outside of all blocks.
        copies: the converted weights that are kept.
    """

    origin: Tensor
    block: nn.Module | None
    copies: Copies

    @staticmethod
    def __new__(  # noqa: PYI034 - what torch makes is known by its class alone
        cls: "type[Converted]",
        origin: Tensor,
        dtype: torch.dtype,
        block: nn.Module | None,
        copies: Copies,
    ) -> "Converted":
        """Make one; see the attributes."""
        made = Tensor._make_wrapper_subclass(  # noqa: SLF001 - torch's documented way to subclass
            cls,
            origin.shape,
            strides=origin.stride(),
            dtype=dtype,
            device=copies.device or origin.device,
        )
        made.origin, made.block, made.copies = origin, block, copies
        return made

    def __repr__(self) -> str:  # type: ignore[override]  # torch's takes contents
        """The stored values."""
        return f"{self.origin!r} as {self.dtype}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own is no class method
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on converted copies."""
        del types
        weight = args[0]
        if isinstance(weight, Converted):
            if func is _aten.detach.default:
                return Converted(weight.origin, weight.dtype, weight.block, weight.copies)
            if func is _aten.embedding.default and weight.device == weight.origin.device:
                # A few rows of what may be a large table.
                return func(weight.origin, *args[1:], **(kwargs or {})).to(weight.dtype)
            if func._schema.is_mutable:  # noqa: SLF001 - there is no other way to know
                raise TypeError("weights are written to as they are stored")
        args, kwargs = tree_map_only(Converted, lambda w: w.copies.of(w), (args, kwargs or {}))
        return func(*args, **kwargs)
