"""Parameters that transformers puts together from several tensors of the files, or from other rows.

Experts that lie apart in the files are merged, gate and up projections joined, fused projections
cut, rows permuted, matrices transposed: `transformers.core_model_loading` has the operations. To
load so means to copy, and the copies of a mixture of experts are the whole model. Instead, each
conversion is run once on tensors that hold row numbers in place of weights. What comes out says
which row of which file tensor each row of the parameter is, and then the parameter is shown as an
`Assembled`: without values of its own, put together when a block reads it. Matrices are the parts
of it that lie in one file tensor: pruning writes to the files' own tensors, and so the conversion
is reversed by never having been done. Where the row numbers do not come out as rows (a conversion
that computes, or moves single weights), the parameter is a plain copy that cannot be written back.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from workers.pruning.models.layout.structure import View

_MATRIX = 2  # dimensions; more for several of them


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One matrix (rows, columns) of a file tensor, some of whose rows make up a parameter.

    Attributes:
        key: of the file tensor.
        tensor: the file tensor.
        expert: which of its matrices, and of how many; None where it is one.
        transposed: True where its rows are columns in the files.
    """

    key: str
    tensor: Tensor
    expert: tuple[int, int] | None
    transposed: bool

    def view(self, rows: Tensor) -> View:
        """The place of some of its rows in the file tensor."""
        return View(self.expert, self.transposed, _as_slice(rows))


class Assembled(Tensor):
    """Shape and dtype of a parameter, no values of its own; read only.

    Attributes:
        units: what its rows come from.
        owner: the unit of each row of the parameter, counted over all its leading dimensions.
        local: which row of the unit it is.
    """

    units: tuple[Unit, ...]
    owner: Tensor
    local: Tensor

    @staticmethod
    def __new__(  # noqa: PYI034 - what torch makes is known by its class alone
        cls: "type[Assembled]",
        shape: Sequence[int],
        units: Sequence[Unit],
        owner: Tensor,
        local: Tensor,
    ) -> "Assembled":
        """Make one; its dtype is the widest of the file tensors'."""
        dtype = units[0].tensor.dtype
        for unit in units:
            dtype = torch.promote_types(dtype, unit.tensor.dtype)
        made = Tensor._make_wrapper_subclass(  # noqa: SLF001 - torch's documented way to subclass
            cls, torch.Size(shape), dtype=dtype, device=units[0].tensor.device
        )
        made.units, made.owner, made.local = tuple(units), owner, local
        return made

    def __repr__(self) -> str:  # type: ignore[override]  # torch's takes contents
        """What it is put together from."""
        keys = dict.fromkeys(unit.key for unit in self.units)
        return f"Assembled({tuple(self.shape)} from {', '.join(keys)})"

    @property
    def _version(self) -> int:  # type: ignore[override]  # counts writes to what it is made from
        tensors = {id(unit.tensor): unit.tensor for unit in self.units}
        return sum(tensor._version for tensor in tensors.values())  # noqa: SLF001 - torch's

    def data_ptr(self) -> int:
        """Tells it from all other tensors: it has no place in memory."""
        return id(self)

    def read(self, dtype: torch.dtype) -> Tensor:
        """The parameter put together, in a dtype."""
        made = torch.empty(tuple(self.shape), dtype=dtype, device=self.device)
        rows = made.view(-1, self.shape[-1])
        for unit, target, source in self._pieces(torch.arange(len(rows))):
            rows[_as_slice(target)] = unit.view(source).of(unit.tensor).to(dtype)
        return made

    def matrices(self, place: View) -> list[tuple[Unit, View, View]]:
        """The parts of file tensors that make up a matrix of the parameter.

        Args:
            place: the matrix in the parameter; its rows are rows of the parameter.

        Returns:
            For every part its unit, its place in the file tensor, and that in the parameter.
        """
        first, rows = 0, len(self.owner)
        if place.expert is not None:
            index, count = place.expert
            rows //= self.shape[0] if self.ndim > _MATRIX else count
            first = index * rows
        numbers = torch.arange(first, first + rows)
        chosen = numbers if place.rows is None else numbers[place.rows]
        found = []
        for unit, target, source in self._pieces(chosen):
            kept, order = source.sort()  # as it lies in the file, so that it is a view
            inside = View(place.expert, rows=_as_slice(target[order] - first))
            found.append((unit, unit.view(kept), inside))
        return found

    def _pieces(self, rows: Tensor) -> Iterator[tuple[Unit, Tensor, Tensor]]:
        """The given rows by unit: the unit, the rows, and those of the unit."""
        owners, order = self.owner[rows].sort(stable=True)
        units, counts = torch.unique_consecutive(owners, return_counts=True)
        for number, places in zip(units.tolist(), torch.split(order, counts.tolist()), strict=True):
            target = rows[places]
            yield self.units[number], target, self.local[target]

    def moved(self, device: torch.device) -> "Assembled":
        """The same, of file tensors on another device."""
        known: dict[int, Tensor] = {}
        units = []
        for unit in self.units:
            if id(unit.tensor) not in known:
                known[id(unit.tensor)] = unit.tensor.to(device)
            units.append(Unit(unit.key, known[id(unit.tensor)], unit.expert, unit.transposed))
        return Assembled(self.shape, units, self.owner, self.local)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own is no class method
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on what is put together."""
        del types
        weight, kwargs = args[0], kwargs or {}
        if isinstance(weight, Assembled):
            if func is _aten.detach.default:
                return Assembled(weight.shape, weight.units, weight.owner, weight.local)
            if func is _aten._to_copy.default:  # noqa: SLF001 - how torch spells a conversion
                if (device := kwargs.get("device")) is not None and device != weight.device:
                    return weight.moved(device)
                return weight.read(kwargs.get("dtype") or weight.dtype)
            if func._schema.is_mutable:  # noqa: SLF001 - there is no other way to know
                raise TypeError("weights are written to as they are stored")
        args, kwargs = tree_map_only(Assembled, lambda w: w.read(w.dtype), (args, kwargs))
        return func(*args, **kwargs)


_aten = torch.ops.aten


def _as_slice(rows: Tensor) -> slice | Tensor:
    """The rows as a slice, where they are evenly spaced and ascending."""
    first, count = int(rows[0]), len(rows)
    step = int(rows[1]) - first if count > 1 else 1
    if step > 0 and torch.equal(rows, torch.arange(first, first + step * count, step)):
        return slice(first, first + step * (count - 1) + 1, step)
    return rows


Convert = Callable[[Mapping[str, list[Tensor]], Any], Mapping[str, Any]]


def fill(model: nn.Module, assembled: Mapping[str, Assembled]) -> None:
    """Put the parameters in the places of their placeholders, ties included."""
    known = {model.get_parameter(name): weight for name, weight in assembled.items()}
    shown = {p: nn.Parameter(weight, requires_grad=False) for p, weight in known.items()}
    for module in model.modules():
        for name, parameter in module._parameters.items():  # noqa: SLF001 - ties stay
            if parameter is not None and parameter in shown:
                module._parameters[name] = shown[parameter]  # noqa: SLF001 - the same


def assemble(
    sources: Mapping[str, Mapping[str, Tensor]], convert: Convert, model: nn.Module
) -> dict[str, Assembled] | None:
    """What a conversion makes of the sources, by name; None where its rows cannot be followed.

    Args:
        sources: file tensors by pattern and key.
        convert: the conversion of other tensors in their place, for a model of the given shapes.
        model: whose parameters it makes.
    """

    def one_wide(name: str) -> Tensor:
        shape = model.get_parameter(name).shape
        return torch.empty((*shape[:-1], 1), device="meta")

    def run(probes: Mapping[str, list[Tensor]]) -> Mapping[str, Any]:
        return convert(probes, SimpleNamespace(get_parameter=one_wide))

    if any(t.ndim not in (2, 3) for named in sources.values() for t in named.values()):
        return None
    for transposed in (False, True):
        with suppress(Exception):  # operations fail in their own ways on row numbers
            found = _followed(sources, run, model, transposed=transposed)
            if found is not None:
                return found
    return None


def _followed(
    sources: Mapping[str, Mapping[str, Tensor]],
    run: Callable[[Mapping[str, list[Tensor]]], Mapping[str, Any]],
    model: nn.Module,
    *,
    transposed: bool,
) -> dict[str, Assembled] | None:
    """The same, taking the rows of the parameter for rows, or for columns, of the file tensors."""
    units: list[Unit] = []
    sizes: list[int] = []
    for named in sources.values():
        for key, tensor in named.items():
            count = len(tensor) if tensor.ndim > _MATRIX else 1
            for index in range(count):
                expert = (index, count) if tensor.ndim > _MATRIX else None
                units.append(Unit(key, tensor, expert, transposed))
                sizes.append(tensor.shape[-1 if transposed else -2])
    starts = torch.tensor([0, *sizes]).cumsum(0)
    total = int(starts[-1])

    def results(numbers: Tensor) -> dict[str, Tensor]:
        left = numbers
        probes: dict[str, list[Tensor]] = defaultdict(list)
        for pattern, named in sources.items():
            for tensor in named.values():
                shape = list(tensor.shape)
                shape[-2 if transposed else -1] = 1
                size = torch.Size(shape).numel()
                probes[pattern].append(left[:size].view(shape))
                left = left[size:]
        made = run(probes)
        return {n: each[0] if isinstance(each, list) else each for n, each in made.items()}

    forwards = results(torch.arange(total))
    backwards = results(torch.arange(total - 1, -1, -1))
    found = {}
    for name, numbers in forwards.items():
        shape = model.get_parameter(name).shape
        if numbers.shape != (*shape[:-1], 1) or not torch.equal(
            numbers,
            total - 1 - backwards[name],  # else it computes with them
        ):
            return None
        rows = numbers.flatten()
        owner = torch.bucketize(rows, starts, right=True) - 1
        used = torch.unique(owner)
        if any(units[u].tensor.shape[-2 if transposed else -1] != shape[-1] for u in used):
            return None
        found[name] = Assembled(shape, units, owner, rows - starts[owner])
    return found
