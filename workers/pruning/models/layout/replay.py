"""Take a batch through the towers of a model, one block at a time.

Entering a tower runs the model once with the tower's blocks replaced by recorders that hand their
input on. That captures what the model's own code passes to every block (masks per layer type,
rotary embeddings, encoder states) at the price of the embeddings alone. From then on each block is
called directly; only hidden states move. Where a model changes hidden states between its blocks
(or changes their shape), the recording notices, and each step is fetched from the model's own
code instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from workers.pruning.memory import Memory
from workers.pruning.models.layout.forwards import Args, Kwargs, replaced, without_cache
from workers.pruning.models.layout.padding import guessed_mask
from workers.pruning.models.layout.structure import Tower

Batch = Mapping[str, Tensor]
Slot = int | str  # a positional index or a keyword
_INERT = (Tensor, bool, int, float, str, torch.dtype, torch.device, type(None))


class Runner(Protocol):
    """What replay needs of an adapter.

    Attributes:
        forms: per tower, the form of a block's output where it holds hidden states and nothing
            else that depends on the batch; filled while recording.
        memory: where tensors wait between blocks.
    """

    forms: dict[str, Any]
    memory: Memory

    def forward(self, batch: Batch) -> Any:
        """Run the whole model."""

    def token_mask(
        self, tower: Tower, batch: Batch, seen: Tensor, *, source: bool
    ) -> Tensor | None:
        """Real tokens of a tensor seen inside a block."""


class _Stop(Exception):  # noqa: N818 (control flow: leave the model's forward)
    pass


class _NotDirect(Exception):  # noqa: N818 (control flow: hidden states change between blocks)
    pass


def hidden_of(output: Any) -> Tensor:
    """Hidden states in what a block returned: the tensor itself or the first entry."""
    if isinstance(output, Tensor):
        return output
    first = output.to_tuple()[0] if isinstance(output, ModelOutput) else output[0]
    if not isinstance(first, Tensor):
        raise TypeError(f"a block returned {type(first).__name__} where hidden states belong")
    return first


@dataclass(slots=True)
class _Call:
    """What one block was called with; hidden states are taken out once known to be handed on."""

    index: int
    args: Args
    kwargs: Kwargs
    slot: Slot
    links: dict[Slot, int] = field(default_factory=dict)  # entry of the previous block's output

    @property
    def hidden(self) -> Tensor:
        value = self.args[self.slot] if isinstance(self.slot, int) else self.kwargs[self.slot]
        if not isinstance(value, Tensor):
            raise TypeError("hidden states were taken out of this call")
        return value

    def put(self, slot: Slot, value: Any) -> None:
        if isinstance(slot, int):
            self.args = (*self.args[:slot], value, *self.args[slot + 1 :])
        else:
            self.kwargs = {**self.kwargs, slot: value}

    def slots(self) -> Iterator[tuple[Slot, Any]]:
        yield from enumerate(self.args)
        yield from self.kwargs.items()


class TowerPass:
    """One batch inside one tower: what each block is called with.

    Use: for every block in order, `args, kwargs = inputs(i)`, call the block's module as often as
    wanted, then `advance(i, output)` with the output later blocks shall see.

    Attributes:
        run: the batch.
        ended: the last block is done.
        kept: outputs of blocks that something beside the next block reads.
    """

    def __init__(self, run: "BatchRun", tower: Tower, number: int, calls: list[_Call]) -> None:
        self.run = run
        self.ended = False
        self._tower = tower
        self._number = number
        self._direct = len(calls) == len(tower.blocks)
        self._calls = dict(enumerate(calls))
        self._memory = run.adapter.memory
        _keep(calls, self._memory)
        self._hidden: Any = calls[0].hidden
        self._output: Any = None
        self._given: list[Tensor] = []  # tensors of the current call beside hidden states
        self.kept: dict[int, Any] = {}
        for call in calls[1:]:
            call.put(call.slot, None)

    def mask_of(self, seen: Tensor) -> Tensor | None:
        """Which tokens of a matrix's input are real: bool, or None when all are.

        Encoder states are told from the block's own hidden states by identity, not by length.
        """
        source = any(seen is value for value in self._given)
        tower, batch = self._tower, self.run.batch
        if tower.guessed:
            if source:
                return guessed_mask(seen, batch, [tower.source_mask], self._given[::-1])
            return guessed_mask(seen, batch, [tower.mask, tower.source_mask], self._given)
        return self.run.adapter.token_mask(tower, batch, seen, source=source)

    def inputs(self, index: int) -> tuple[Args, Kwargs]:
        """Arguments of block `index`, given what `advance` received for the block before it."""
        if index in self._calls:
            call = self._calls[index]
            if index > 0:
                call.put(call.slot, self._hidden)
                for slot, entry in call.links.items():
                    call.put(slot, self._output[entry])
        else:
            call = self.run.fetch(self._tower, self._number, index, self.kept)
        self._given = [v for s, v in call.slots() if s != call.slot and isinstance(v, Tensor)]
        return call.args, dict(call.kwargs)

    def state(self) -> dict[str, Tensor] | None:
        """What the next block needs of those before it; None where that cannot be told."""
        if not self._direct or self._hidden is None:
            return None
        if any(_shares(call.args, call.kwargs) for call in self._calls.values()):
            return None  # later blocks read what earlier ones have put there
        links = {entry for call in self._calls.values() for entry in call.links.values()}
        found = {"hidden": self._hidden} | {f"link.{at}": self._output[at] for at in links}
        outputs = _flat(self.kept)
        return None if outputs is None else found | outputs

    def resume(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Go on at block `index` with the state another pass had there."""
        state = {name: value.to(self._hidden.device) for name, value in state.items()}
        self._hidden = self._memory.keep(state["hidden"])
        links = {name: value for name, value in state.items() if name.startswith("link.")}
        self._output = {int(name[5:]): value for name, value in links.items()}
        self.kept = _nested(state)
        for earlier in range(index):
            self._calls.pop(earlier, None)

    def rest(self) -> None:
        """Let go of the hidden states until the next call, where they wait on disk."""
        if self._hidden is not None:
            self._memory.rest(self._hidden)

    def advance(self, index: int, output: Any) -> None:
        """Hand the output of block `index` on; what came before it is dropped."""
        hidden = hidden_of(output)
        self._hidden = self._memory.keep(hidden)
        if self._hidden is not hidden:
            output = _with_hidden(output, self._hidden)
        self._output = output
        self._calls.pop(index, None)
        if index in self._tower.feeds or not self._direct:
            self.kept[index] = output
        if index == len(self._tower.blocks) - 1:
            self._calls.clear()
            self._hidden = self._output = None
            self.ended = True
            self.run.leave(self._tower, self._number, self.kept)


class BatchRun:
    """One calibration batch on its way through the model, tower by tower in execution order."""

    def __init__(self, adapter: Runner, batch: Batch) -> None:
        self.adapter = adapter
        self.batch = batch
        self._finished: dict[str, dict[int, dict[int, Any]]] = {}
        self._towers: dict[str, Tower] = {}

    @torch.no_grad()
    def enter(self, tower: Tower) -> list[TowerPass]:
        """Record what the tower's blocks are called with; one entry per pass through the tower.

        Towers finished before are replayed from the outputs that feed later towers; those that
        feed in unknown ways run again. Empty when this batch does not reach the tower.
        """
        try:
            passes = self._record(tower)
        except Exception:  # noqa: BLE001 (blocks that cannot be skipped fail in their own ways)
            passes = self._count(tower)
        return [TowerPass(self, tower, number, calls) for number, calls in enumerate(passes)]

    def leave(self, tower: Tower, number: int, kept: dict[int, Any]) -> None:
        """Called by a pass when its last block is done."""
        if tower.feeds:
            self._towers[tower.name] = tower
            wanted = {index: kept[index] for index in tower.feeds}
            self._finished.setdefault(tower.name, {})[number] = wanted

    def finished(self) -> dict[str, Tensor] | None:
        """Outputs of finished towers that later ones read; None where they cannot be told."""
        found: dict[str, Tensor] = {}
        for name, passes in self._finished.items():
            for number, kept in passes.items():
                outputs = _flat(kept)
                if outputs is None:
                    return None
                found |= {f"{name}/{number}/{key}": value for key, value in outputs.items()}
        return found

    def finish(self, towers: Sequence[Tower], found: Mapping[str, Tensor]) -> None:
        """Take over the outputs of towers that another run has finished."""
        device = next(iter(self.batch.values())).device
        for tower in towers:
            passes: dict[int, dict[str, Tensor]] = {}
            for key, value in found.items():
                name, number, output = key.rsplit("/", 2)
                if name == tower.name:
                    passes.setdefault(int(number), {})[output] = value.to(device)
            if passes:
                self._towers[tower.name] = tower
                self._finished[tower.name] = {n: _nested(kept) for n, kept in passes.items()}

    def _record(self, tower: Tower) -> list[list[_Call]]:
        """Calls of every pass, hidden states handed through the blocks unchanged."""
        recorder = _Recorder(tower, self.adapter.forms)
        self._forward(tower, recorder.forward)
        if any(len(calls) != len(tower.blocks) for calls in recorder.passes):
            raise _NotDirect
        return recorder.passes

    def _count(self, tower: Tower) -> list[list[_Call]]:
        """First calls of every pass, blocks run for real."""
        passes: list[list[_Call]] = []

        def forward(index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            if index == 0:
                passes.append([_call(index, args, kwargs)])
                if len(passes) == tower.passes:
                    raise _Stop
            return original(*args, **kwargs)

        self._forward(tower, forward)
        return passes

    @torch.no_grad()
    def fetch(self, tower: Tower, number: int, index: int, outputs: Mapping[int, Any]) -> _Call:
        """What the model's own code calls block `index` with after the given earlier outputs."""
        found: list[_Call] = []
        current = -1

        def forward(at: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            nonlocal current
            current += at == 0
            if current == number and at == index:
                found.append(_call(at, args, kwargs))
                raise _Stop
            if current == number and at in outputs:
                if _shares(args, kwargs):
                    original(*args, **kwargs)  # fills what later blocks read
                return outputs[at]
            return original(*args, **kwargs)

        self._forward(tower, forward)
        return found[0]

    def _forward(self, tower: Tower, forward: "_Forward") -> None:
        """Run the model with the tower's blocks replaced and finished towers replayed."""
        with ExitStack() as stack:
            stack.enter_context(_replaced(tower, forward))
            for name, kept in self._finished.items():
                if name != tower.name:
                    stack.enter_context(_replaced(self._towers[name], _Replayer(kept).forward))
            try:
                self.adapter.forward(self.batch)
            except _Stop:
                return


_Forward = Callable[[int, Callable[..., Any], Args, Kwargs], Any]


class _Recorder:
    """Stands in for the blocks of a tower and hands hidden states through."""

    def __init__(self, tower: Tower, forms: dict[str, Any]) -> None:
        self._tower = tower
        self._last = len(tower.blocks) - 1
        self._forms = forms
        self._form = forms.get(tower.name)
        self._returned: Any = None
        self.passes: list[list[_Call]] = []

    def forward(self, index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        call = _call(index, args, kwargs)
        if index == 0:
            self.passes.append([])
        else:
            self._check(call)
        self.passes[-1].append(call)
        if index == self._last and len(self.passes) == self._tower.passes:
            raise _Stop
        if self._last == 0:
            return original(*args, **kwargs)
        if index == 0 and self._tower.name not in self._forms:
            self._learn(original(*args, **kwargs), call.hidden)
        self._returned = _with_hidden(self._form, call.hidden)
        return self._returned

    def _learn(self, output: Any, hidden: Tensor) -> None:
        """See the form of outputs in a real one, and what else it carries (T5's position bias)."""
        if hidden_of(output).shape != hidden.shape:
            raise _NotDirect
        self._form = _with_hidden(output, hidden.new_empty(0))
        entries = output.values() if isinstance(output, ModelOutput) else output
        if isinstance(output, Tensor) or sum(isinstance(e, Tensor) for e in entries) == 1:
            self._forms[self._tower.name] = self._form

    def _check(self, call: _Call) -> None:
        if not self.passes or len(self.passes[-1]) != call.index:
            raise _NotDirect
        if call.hidden is not hidden_of(self._returned):
            raise _NotDirect
        if isinstance(self._returned, tuple):
            entries = {
                id(v): i for i, v in enumerate(self._returned) if isinstance(v, Tensor) and i
            }
            call.links = {s: entries[id(v)] for s, v in call.slots() if id(v) in entries}


class _Replayer:
    """Stands in for the blocks of a finished tower and returns what was kept of it."""

    def __init__(self, kept: Mapping[int, Mapping[int, Any]]) -> None:
        self._kept = kept
        self._number = -1

    def forward(self, index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        self._number += index == 0
        outputs = self._kept.get(self._number)
        if outputs is None:
            return original(*args, **kwargs)
        if index in outputs:
            return outputs[index]
        return _with_hidden(next(iter(outputs.values())), _call(index, args, kwargs).hidden)


def _shares(args: Args, kwargs: Kwargs) -> bool:
    """Whether a block is handed something that it can fill for later blocks: a dictionary, say."""
    return not all(map(_inert, (*args, *kwargs.values())))


def _inert(value: Any) -> bool:
    return all(map(_inert, value)) if type(value) is tuple else isinstance(value, _INERT)


def _call(index: int, args: Args, kwargs: Kwargs) -> _Call:
    """A call with its hidden states located and caches removed (a cache would grow per call)."""
    args, kwargs = without_cache(args, kwargs)
    slots: list[Slot] = [0, "hidden_states", *range(1, len(args)), *kwargs]
    given: dict[Slot, Any] = dict(enumerate(args))
    given.update(kwargs.items())
    for slot in slots:
        if isinstance(given.get(slot), Tensor):
            return _Call(index, args, kwargs, slot)
    raise _NotDirect


def _flat(outputs: Mapping[int, Any]) -> dict[str, Tensor] | None:
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


def _nested(found: Mapping[str, Tensor]) -> dict[int, Any]:
    """What `_flat` was given."""
    outputs: dict[int, Any] = {}
    for key, value in found.items():
        kind, *numbers = key.split(".")
        if kind == "kept":
            index, size, at = map(int, numbers)
            if size == 0:
                outputs[index] = value
            else:
                before = outputs.get(index, (None,) * size)
                outputs[index] = (*before[:at], value, *before[at + 1 :])
    return outputs


def _keep(calls: Sequence[_Call], memory: Memory) -> None:
    """Put the tensors of the calls where they wait best; one that several share stays one."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for call in calls:
        for slot, value in list(call.slots()):
            if isinstance(value, Tensor):
                if id(value) not in kept:
                    kept[id(value)] = value, memory.keep(value)
                call.put(slot, kept[id(value)][1])


def _with_hidden(like: Any, hidden: Tensor) -> Any:
    """An output of the form of `like` with other hidden states."""
    if isinstance(like, Tensor):
        return hidden
    if isinstance(like, ModelOutput):
        first = next(iter(like))
        return type(like)(**{**like, first: hidden})
    return type(like)((hidden, *like[1:]))


@contextmanager
def _replaced(tower: Tower, forward: _Forward) -> Iterator[None]:
    """Blocks of the tower call `forward(index, original, args, kwargs)`; restored on exit."""

    def stand_in(index: int, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: forward(index, original, args, kwargs)

    with replaced([block.module for block in tower.blocks], stand_in):
        yield
