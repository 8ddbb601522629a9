"""On which device and in which dtype a model computes, whatever its weights are stored in."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from app.planning.machines import NoWorkerError, is_gpu, ordinal
from workers.pruning.ahead import Ahead
from workers.pruning.memory import Converted, Copies, converted, stored
from workers.pruning.models.conversions import Assembled
from workers.pruning.models.layout.discovery import find_stacks
from workers.pruning.models.layout.replay import Batch


def find_device(asked: str, default: str = "auto") -> torch.device:
    """The device of this machine that a job means.

    Args:
        asked: by the job: auto, cpu, cuda or cuda:N.
        default: what the worker takes `auto` for; itself auto: a GPU if there is one.

    Raises:
        NoWorkerError: this machine has no such GPU.
    """
    name = default if asked == "auto" else asked
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not is_gpu(name):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ordinal(name) >= count:
        raise NoWorkerError(f"this worker has {count} GPUs; there is no {name}")
    return torch.device("cuda", ordinal(name))


def set_precision(*, tf32: bool) -> None:
    """Let a GPU compute what it says, and the same each time; before anything is computed there.

    Masks depend on small differences, and a job that goes on elsewhere has to choose as before. So
    factors of float32 products are not rounded (torch lets convolutions, by default), sums of half
    precision are made in float32, and algorithms whose sums come in any order are left out.

    Args:
        tf32: round the factors of float32 products nonetheless: faster, other masks.
    """
    setattr(torch.backends, "fp32_precision", "tf32" if tf32 else "ieee")  # noqa: B010 - torch does not declare it
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS wants it for this
        torch.use_deterministic_algorithms(mode=True)


def identity(device: torch.device) -> list[str]:
    """What results hang on, bit for bit: the kind of processor and of its libraries."""
    if device.type != "cuda":
        return [str(device), torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())]
    properties = torch.cuda.get_device_properties(device)
    libraries = [torch.version.cuda, torch.backends.cudnn.version()]  # type: ignore[no-untyped-call]  # torch's
    return [properties.name, f"{properties.major}.{properties.minor}", *map(str, libraries)]


HALF = (torch.bfloat16, torch.float16)
DtypeOf = Callable[[torch.dtype], torch.dtype]
_Undo = list[tuple[dict[str, Any], str, Tensor]]


def suitable_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """What to compute in where nobody says: the stored dtype, or float32 where that is faster.

    A CPU without instructions for half precision converts the operands of every product.
    """
    native: Mapping[torch.dtype, Callable[[], bool]] = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,  # noqa: SLF001 - torch's own test
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,  # noqa: SLF001 - the same
    }
    if device.type == "cpu" and stored in native and not native[stored]():
        return torch.float32
    return stored


def compute_in(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Let the model compute so from now on; its weights stay as and where they are stored."""
    if device.type == "cuda":  # torch's backward pass wants its number
        device = torch.device("cuda", device.index or 0)
    _show(model, lambda shown: dtype if shown.is_floating_point else shown, device)


@contextmanager
def computing_in_float32(model: nn.Module) -> Iterator[None]:
    """Inside, a model of half precision computes in float32: small gradients would underflow."""
    undo = _show(model, _at_least_float32)
    try:
        yield
    finally:
        for entries, name, before in undo:
            entries[name] = before


def settle(model: nn.Module) -> None:
    """Convert every weight for good, into memory: for models that run often and never change."""
    known: dict[Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, shown in module._parameters.items():  # noqa: SLF001 - ties stay, nothing registers anew
            if isinstance(shown, Converted):
                if shown.origin not in known:
                    value = converted(shown.origin.detach(), shown.device, shown.dtype)
                    known[shown.origin] = nn.Parameter(value, requires_grad=False)
                module._parameters[name] = known[shown.origin]  # noqa: SLF001 - the same


def in_float32(batch: Batch) -> Batch:
    """The batch with its half-precision entries in float32."""
    return {key: value.to(_at_least_float32(value.dtype)) for key, value in batch.items()}


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else dtype


def _show(model: nn.Module, dtype_of: DtypeOf, device: torch.device | None = None) -> _Undo:
    """Show every parameter in the dtype for its own; returns what was there before.

    Args:
        model: whose parameters and buffers are meant.
        dtype_of: dtype now -> dtype to come.
        device: where to compute; None for where the model computes already.
    """
    if device is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return _show_parameters(model, dtype_of, device) + _convert_buffers(model, dtype_of, device)


def _show_parameters(model: nn.Module, dtype_of: DtypeOf, device: torch.device) -> _Undo:
    homes, undo = _homes(model), _Undo()
    copies = _copies(homes, device)
    known: dict[tuple[Tensor, torch.dtype], nn.Parameter] = {}

    def parameter(origin: Tensor, dtype: torch.dtype) -> nn.Parameter:
        known_there = origin.dtype == dtype and origin.device == device
        if known_there and not isinstance(origin, Assembled):
            return cast("nn.Parameter", origin)
        view: Any = Converted(origin, dtype, homes.get(origin), copies)
        return nn.Parameter(view, requires_grad=False)

    for module in model.modules():
        places = cast("dict[str, Any]", module._parameters)  # noqa: SLF001 - ties stay
        for name, shown in places.items():
            if shown is None:
                continue
            dtype = dtype_of(shown.dtype)
            there = dtype == shown.dtype and shown.device == device
            if there and not isinstance(shown, Assembled):
                continue
            key = stored(shown), dtype
            if key not in known:
                known[key] = parameter(*key)
            undo.append((places, name, shown))
            places[name] = known[key]
    return undo


def _copies(homes: Mapping[Tensor, nn.Module], device: torch.device) -> Copies:
    """What keeps converted weights: on the host where they are stored, or on the device."""
    if device.type == "cpu":
        return Copies()
    if device.type != "cuda":
        return Copies(device)
    blocks: dict[nn.Module, list[Tensor]] = {}
    for origin, block in homes.items():
        blocks.setdefault(block, []).append(origin)
    return Copies(device, Ahead(device, blocks))


def _convert_buffers(model: nn.Module, dtype_of: DtypeOf, device: torch.device) -> _Undo:
    """Buffers are small: they are copied to the device; none becomes narrower."""
    undo = _Undo()
    for module in model.modules():
        buffers = cast("dict[str, Any]", module._buffers)  # noqa: SLF001 - they stay buffers
        for name, buffer in buffers.items():
            if buffer is None:
                continue
            dtype = buffer.dtype
            if dtype.is_floating_point:
                dtype = torch.promote_types(dtype, dtype_of(dtype))
            if dtype != buffer.dtype or buffer.device != device:
                undo.append((buffers, name, buffer))
                buffers[name] = buffer.to(device, dtype)
    return undo


def _homes(model: nn.Module) -> dict[Tensor, nn.Module]:
    """The block of every weight that lies in one block and nowhere else."""
    inside = {
        module: block
        for stack in find_stacks(model)
        for _, block in stack.blocks
        for module in block.modules()
    }
    owners: dict[Tensor, set[nn.Module | None]] = {}
    for module in model.modules():
        for shown in module._parameters.values():  # noqa: SLF001 - parameters() drops repeats
            if shown is not None:
                owners.setdefault(stored(shown), set()).add(inside.get(module))
    found = {}
    for origin, blocks in owners.items():
        first = next(iter(blocks))
        if first is not None and len(blocks) == 1:
            found[origin] = first
    return found
