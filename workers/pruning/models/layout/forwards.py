"""Forwards of modules replaced for a while: to record what blocks are called with, or replay it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from workers.pruning.models.layout.structure import Tower

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
Forward: TypeAlias = Callable[..., Any]


@contextmanager
def replaced(
    modules: Sequence[nn.Module], stand_in: Callable[[int, Forward], Forward]
) -> Iterator[None]:
    """Every module runs `stand_in(index, its own forward)`; its own is back on exit."""
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for index, module in enumerate(modules):
            module.__dict__["forward"] = stand_in(index, module.forward)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own


def with_own_cache(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    """The arguments of a block with key-value caches that it may fill: they grow with every call.

    A cache that holds nothing yet is left out. One that does carries what the block attends to: the
    prompt that another tower has read.
    """
    return tuple(map(_own, args)), {key: _own(value) for key, value in kwargs.items()}


def _own(value: Any) -> Any:
    if not isinstance(value, Cache):
        return value
    layers = [vars(layer) for layer in getattr(value, "layers", ())]
    if not any(_holds(each) for layer in layers for each in layer.values()):
        return None
    mine = copy(value)
    mine.layers = []
    for layer in value.layers:
        mine.layers.append(copied := copy(layer))
        vars(copied).update({name: _cloned(each) for name, each in vars(layer).items()})
    return mine


def _holds(value: Any) -> bool:
    if isinstance(value, dict):  # of several states
        return any(map(_holds, value.values()))
    return isinstance(value, Tensor) and value.numel() > 0


def _cloned(value: Any) -> Any:
    """Some tensors of a cache are written to in place."""
    if isinstance(value, dict):
        return {key: _cloned(each) for key, each in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


Slot = int | str  # a positional index or a keyword
_INERT = (Tensor, bool, int, float, str, torch.dtype, torch.device, type(None))


class Stop(Exception):  # noqa: N818 - control flow
    """Leave the forward of the model: what was wanted is recorded."""


class NotDirectError(Exception):
    """The model changes hidden states between its blocks, so its own code has to be asked."""


def hidden_of(output: Any) -> Tensor:
    """Hidden states in what a block returned: the tensor itself or the first entry."""
    if isinstance(output, Tensor):
        return output
    first = output.to_tuple()[0] if isinstance(output, ModelOutput) else output[0]
    if not isinstance(first, Tensor):
        raise TypeError(f"a block returned {type(first).__name__} where hidden states belong")
    return first


@dataclass(slots=True)
class Call:
    """What one block was called with; hidden states are taken out once known to be handed on.

    Attributes:
        index: of the block.
        args: as given.
        kwargs: as given.
        slot: where hidden states are among them.
        links: slots of further entries of the output of the block before it.
        changed: the model's own code has put other hidden states in the place of that output.
    """

    index: int
    args: Args
    kwargs: Kwargs
    slot: Slot
    links: dict[Slot, int] = field(default_factory=dict)
    changed: bool = False

    @property
    def hidden(self) -> Tensor:
        """The hidden states among the arguments."""
        value = self.args[self.slot] if isinstance(self.slot, int) else self.kwargs[self.slot]
        if not isinstance(value, Tensor):
            raise TypeError("hidden states were taken out of this call")
        return value

    def put(self, slot: Slot, value: Any) -> None:
        """Replace one argument."""
        if isinstance(slot, int):
            self.args = (*self.args[:slot], value, *self.args[slot + 1 :])
        else:
            self.kwargs = {**self.kwargs, slot: value}

    def slots(self) -> Iterator[tuple[Slot, Any]]:
        """All arguments, positional ones first."""
        yield from enumerate(self.args)
        yield from self.kwargs.items()


StandIn = Callable[[int, Callable[..., Any], Args, Kwargs], Any]


class Recorder:
    """Stands in for the blocks of a tower and hands hidden states through.

    Args:
        tower: the tower.
        forms: of the outputs of its blocks, by the tower's name; filled.
        shift: added by every block to its hidden states.
        fixed: what a block returns in each pass instead of these, by its index.
    """

    def __init__(
        self,
        tower: Tower,
        forms: dict[str, Any],
        shift: float = 0.0,
        fixed: Mapping[int, Sequence[Tensor]] | None = None,
    ) -> None:
        self._tower = tower
        self._shift = shift
        self._fixed = fixed or {}
        self._last = len(tower.blocks) - 1
        self._forms = forms
        self._form = forms.get(tower.name)
        self._returned: Any = None
        self._version = 0
        self.passes: list[list[Call]] = []

    def forward(self, index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record the call of block `index`; returns its hidden states as its output."""
        call = call_of(index, args, kwargs)
        if index == 0:
            self.passes.append([])
        else:
            self._check(call)
        self.passes[-1].append(call)
        if index == self._last and len(self.passes) == self._tower.passes:
            raise Stop
        if self._last == 0:
            return original(*args, **kwargs)
        if index == 0 and self._tower.name not in self._forms:
            args, kwargs = with_own_cache(args, kwargs)
            self._learn(original(*args, **kwargs), call.hidden)
        hidden = call.hidden + self._shift if self._shift else call.hidden
        if index in self._fixed:
            hidden = self._fixed[index][len(self.passes) - 1]
        self._version = hidden._version  # noqa: SLF001 - torch counts changes in place here
        self._returned = with_hidden(self._form, hidden)
        return self._returned

    def _learn(self, output: Any, hidden: Tensor) -> None:
        """See the form of outputs in a real one, and what else it carries (T5's position bias)."""
        if hidden_of(output).shape != hidden.shape:
            raise NotDirectError
        self._form = with_hidden(output, hidden.new_empty(0))
        entries = output.values() if isinstance(output, ModelOutput) else output
        if isinstance(output, Tensor) or sum(isinstance(e, Tensor) for e in entries) == 1:
            self._forms[self._tower.name] = self._form

    def _check(self, call: Call) -> None:
        if not self.passes or len(self.passes[-1]) != call.index:
            raise NotDirectError
        returned = hidden_of(self._returned)
        call.changed = not _same(call.hidden, returned)
        in_place = returned._version != self._version  # noqa: SLF001 - the same
        if in_place or (call.changed and not _alike(call.hidden, returned)):
            raise NotDirectError
        if isinstance(self._returned, tuple):
            entries = {
                id(v): i for i, v in enumerate(self._returned) if isinstance(v, Tensor) and i
            }
            call.links = {s: entries[id(v)] for s, v in call.slots() if id(v) in entries}


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory: one, or a view of all of it."""
    layouts = ((t.data_ptr(), t.dtype, t.shape, t.stride()) for t in (one, other))
    return one is other or next(layouts) == next(layouts)


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype)


def have_own(passes: Sequence[Sequence[Call]]) -> bool:
    """Whether a block is handed tensors that no block before it was, hidden states aside."""
    for calls in passes:
        known = {id(tensor) for tensor in _others(calls[0])}
        for call in calls[1:]:
            fresh = {id(tensor) for tensor in _others(call)} - known
            if fresh:
                return True
    return False


def differ(some: Sequence[Sequence[Call]], others: Sequence[Sequence[Call]]) -> bool:
    """Whether two records hold other tensors, hidden states aside but where a pass begins."""
    mine, theirs = (
        [
            *(tensor for calls in passes for call in calls for tensor in _others(call)),
            *(calls[0].hidden for calls in passes),
        ]
        for passes in (some, others)
    )
    return len(mine) != len(theirs) or not all(map(torch.equal, mine, theirs))


def _others(call: Call) -> Iterator[Tensor]:
    """Tensors among the arguments and their tuples, but hidden states and what is linked."""
    for slot, value in call.slots():
        if slot != call.slot and slot not in call.links:
            entries = value if isinstance(value, tuple) else (value,)
            yield from (entry for entry in entries if isinstance(entry, Tensor))


class Replayer:
    """Stands in for the blocks of a finished tower and returns what was kept of it."""

    def __init__(self, activations: Mapping[int, Mapping[int, Any]]) -> None:
        self._kept = activations
        self._number = -1

    def forward(self, index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """What block `index` returned when it was run."""
        self._number += index == 0
        outputs = self._kept.get(self._number)
        if outputs is None:
            return original(*args, **kwargs)
        if index in outputs:
            return outputs[index]
        return with_hidden(next(iter(outputs.values())), call_of(index, args, kwargs).hidden)


def shares(args: Args, kwargs: Kwargs) -> bool:
    """Whether a block is handed something that it can fill for later blocks: a dictionary, say."""
    return not all(map(_inert, (*args, *kwargs.values())))


def _inert(value: Any) -> bool:
    return all(map(_inert, value)) if type(value) is tuple else isinstance(value, _INERT)


def call_of(index: int, args: Args, kwargs: Kwargs) -> Call:
    """A call with its hidden states located and a cache as it is now."""
    args, kwargs = with_own_cache(args, kwargs)
    slots: list[Slot] = [0, "hidden_states", *range(1, len(args)), *kwargs]
    given: dict[Slot, Any] = dict(enumerate(args))
    given.update(kwargs.items())
    for slot in slots:
        if isinstance(given.get(slot), Tensor):
            return Call(index, args, kwargs, slot)
    raise NotDirectError


def with_hidden(like: Any, hidden: Tensor) -> Any:
    """An output of the form of `like` with other hidden states."""
    if isinstance(like, Tensor):
        return hidden
    if isinstance(like, ModelOutput):
        first = next(iter(like))
        return type(like)(**{**like, first: hidden})
    return type(like)((hidden, *like[1:]))


def flat(outputs: Mapping[int, Any]) -> dict[str, Tensor] | None:
    """Outputs of blocks as named tensors: `kept.<block>.<entries of its tuple>.<entry>`."""
    found: dict[str, Tensor] = {}
    for index, output in outputs.items():
        entries = output if type(output) is tuple else (output,)
        if not all(entry is None or isinstance(entry, Tensor) for entry in entries):
            return None
        size = len(output) if type(output) is tuple else 0
        tensors = {at: entry for at, entry in enumerate(entries) if entry is not None}
        found |= {f"kept.{index}.{size}.{at}": entry for at, entry in tensors.items()}
    return found


def nested(tensors: Mapping[str, Tensor]) -> dict[int, Any]:
    """What `flat` was given."""
    outputs: dict[int, Any] = {}
    for key, value in tensors.items():
        kind, *numbers = key.split(".")
        if kind == "kept":
            index, size, at = map(int, numbers)
            if size == 0:
                outputs[index] = value
            else:
                before = outputs.get(index, (None,) * size)
                outputs[index] = (*before[:at], value, *before[at + 1 :])
    return outputs


@contextmanager
def blocks_replaced(tower: Tower, forward: StandIn) -> Iterator[None]:
    """Blocks of the tower call `forward(index, original, args, kwargs)`; restored on exit."""

    def stand_in(index: int, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: forward(index, original, args, kwargs)

    with replaced([block.module for block in tower.blocks], stand_in):
        yield
