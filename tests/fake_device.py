"""A device that is not the CPU, on any machine: tensors there do not mix with those here.

What runs on it would run on a GPU as far as devices go: whatever is made on the CPU and used with
what lies on the device is refused, as are `numpy` and in-place copies of plain tensors. It computes
on the CPU, by torch's hooks for devices written in Python.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from workers.pruning.memory import Converted

NAME = "pretend"
# Their purpose is to bring a tensor from one device to the other, or a value to Python.
_CROSSING = {"aten::_to_copy", "aten::copy_", "aten::_copy_from"}
_TO_PYTHON = {"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero"}

_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)


class There(torch.Tensor):
    """A tensor on the device; `inner` is what it stands for."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def __repr__(self):
        return f"There({self.inner})"

    def data_ptr(self):
        return self.inner.data_ptr()

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, _types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Computing(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(isinstance(each, Converted) for each in tree_leaves((args, kwargs))):
            with self:  # modes come before subclasses
                return Converted.__torch_dispatch__(function, types, args, kwargs)
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs):
    name, mutable = function._schema.name, function._schema.is_mutable
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    there = any(isinstance(each, There) for each in tensors)
    here = [each for each in tensors if not isinstance(each, There) and each.ndim]
    if name == "aten::index" and isinstance(args[0], There):
        here = []  # a GPU takes indices from the CPU
    if there and here and name not in _CROSSING:
        raise RuntimeError(f"{name} mixes devices: a tensor {tuple(here[0].shape)} is not there")
    changed = args[0] if mutable and args else None
    astray = isinstance(changed, torch.Tensor) and not isinstance(changed, There)
    if there and astray and name not in _CROSSING:
        raise RuntimeError(f"{name} writes to another device what it has computed here")
    inner = dict(kwargs)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == NAME
        inner["device"] = torch.device("cpu")
    plain_args, plain = tree_map_only(There, lambda each: each.inner, (args, inner))
    found = function(*plain_args, **plain)
    if mutable:
        return kwargs.get("out", args[0] if args else found)
    if name in _TO_PYTHON or not there:
        return found
    return tree_map_only(torch.Tensor, There, found)


def _copy_from(source, target, non_blocking=False):
    target.inner.copy_(source.inner if isinstance(source, There) else source)
    return target


# `torch.tensor(values, device=...)` and the like go past the mode.
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
_LIBRARY.impl(
    "empty_strided",
    lambda size, stride, *, dtype=None, **_: There(torch.empty_strided(size, stride, dtype=dtype)),
    "PrivateUse1",
)
_LIBRARY.impl(
    "empty.memory_format",
    lambda size, *, dtype=None, **_: There(torch.empty(size, dtype=dtype)),
    "PrivateUse1",
)


@contextmanager
def pretending():
    """Inside, the device can be used: `load_model(directory, device=DEVICE)`."""
    with _Computing():
        yield
