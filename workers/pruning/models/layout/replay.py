"""Take a batch through the towers of a model, one block at a time.

Entering a tower runs the model once with the tower's blocks replaced by recorders that hand their
input on. That captures what the model's own code passes to every block (masks per layer type,
rotary embeddings, encoder states) at the price of the embeddings alone. From then on each block is
called directly; only hidden states move. Where a model changes hidden states between two blocks,
the recording notices, and they are fetched there from the model's own code; where it changes their
shape, or blocks read more than the one before them, every step is.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from workers.pruning.memory import Memory, out_of_memory
from workers.pruning.models.layout.forwards import (
    Args,
    Call,
    Kwargs,
    NotDirectError,
    Recorder,
    Replayer,
    StandIn,
    Stop,
    blocks_replaced,
    call_of,
    differ,
    flat,
    have_own,
    hidden_of,
    nested,
    shares,
    with_hidden,
    with_own_cache,
)
from workers.pruning.models.layout.padding import guessed_mask
from workers.pruning.models.layout.structure import Tower

Batch = Mapping[str, Tensor]
_MOST_CHANGES = 8  # each is asked for once, at the price of the embeddings


class ReplayableModel(Protocol):
    """What replay needs of an adapter, which is built upon replay and so not imported here.

    Attributes:
        forms: what was learnt while recording: per tower, the form of a block's output where it
            holds hidden states and nothing else that depends on the batch, and the like.
        memory: where tensors wait between blocks.
    """

    forms: dict[str, Any]
    memory: Memory

    @property
    def towers(self) -> Sequence[Tower]:
        """In execution order."""

    def forward(self, batch: Batch) -> Any:
        """Run the whole model."""

    def token_mask(
        self, tower: Tower, batch: Batch, seen: Tensor, *, source: bool
    ) -> Tensor | None:
        """Real tokens of a tensor seen inside a block."""


class TowerPass:
    """One batch inside one tower: what each block is called with.

    Use: for every block in order, `args, kwargs = inputs(i)`, call the block's module as often as
    wanted, then `advance(i, output)` with the output later blocks shall see.

    Attributes:
        run: the batch.
        ended: the last block is done.
        kept: outputs of blocks that something beside the next block reads.
    """

    def __init__(
        self, run: "BatchRun", tower: Tower, number: int, calls: list[Call], *, alone: bool
    ) -> None:
        self.run = run
        self._alone = alone
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
            # What other passes have made of blocks pruned since may be what this one begins with.
            known = self.kept if self._alone else {}
            call = self.run.fetch(self._tower, self._number, index, known)
        args, kwargs = self._memory.back((call.args, dict(call.kwargs)))
        given = [*enumerate(args), *kwargs.items()]
        self._given = [v for s, v in given if s != call.slot and isinstance(v, Tensor)]
        return with_own_cache(args, kwargs)

    def bytes_of(self, features: int) -> int | None:
        """Of so many values for each of its tokens; None where hidden states are not known."""
        if not isinstance(self._hidden, Tensor):
            return None
        tokens = self._hidden.numel() // self._hidden.shape[-1]
        return tokens * features * self._hidden.element_size()

    def state(self) -> dict[str, Tensor] | None:
        """What the next block needs of those before it; None where that cannot be told."""
        if not self._direct or self._hidden is None:
            return None
        if any(shares(call.args, call.kwargs) for call in self._calls.values()):
            return None  # later blocks read what earlier ones have put there
        links = {entry for call in self._calls.values() for entry in call.links.values()}
        found = {"hidden": self._hidden} | {f"link.{at}": self._output[at] for at in links}
        outputs = flat(self.kept)
        return None if outputs is None else found | outputs

    def resume(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Go on at block `index` with the state another pass had there."""
        state = {name: value.to(self._hidden.device) for name, value in state.items()}
        self._hidden = self._memory.keep(state["hidden"])
        links = {name: value for name, value in state.items() if name.startswith("link.")}
        self._output = {int(name[5:]): value for name, value in links.items()}
        self.kept = nested(state)
        for earlier in range(index):
            self._calls.pop(earlier, None)

    def rest(self) -> None:
        """Let go of the hidden states until the next call, where they wait on disk."""
        if self._hidden is not None:
            self._memory.rest(self._hidden)

    def advance(self, index: int, output: Any) -> Tensor | None:
        """Hand the output of block `index` on; what came before it is dropped.

        Returns:
            Its hidden states, where they wait; None where the model's own code takes it up.
        """
        hidden: Tensor | None = None
        if self._direct:
            hidden = hidden_of(output)
            kept = self._memory.keep(hidden.contiguous())
            if kept is not hidden:
                output = with_hidden(output, kept)
            self._hidden = hidden = kept
            following = self._calls.get(index + 1)
            if following is not None and following.changed:
                found = self.run.changed(self._tower, self._number, index, output)
                self._hidden = self._memory.keep(found.contiguous())
        else:  # of any form: the model's own code takes it up
            self._hidden = None
        self._output = output
        self._calls.pop(index, None)
        if index in self._tower.feeds or not self._direct:
            self.kept[index] = output
        if index == len(self._tower.blocks) - 1:
            self._calls.clear()
            self._hidden = self._output = None
            self.ended = True
            self.run.leave(self._tower, self._number, self.kept)
        return hidden


class BatchRun:
    """One calibration batch on its way through the model, tower by tower in execution order."""

    def __init__(self, adapter: ReplayableModel, batch: Batch) -> None:
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
        except Exception as error:  # blocks that cannot be skipped fail in their own ways
            if out_of_memory(error):
                raise
            passes = self._count(tower)
        alone = len(passes) == 1
        return [
            TowerPass(self, tower, number, calls, alone=alone)
            for number, calls in enumerate(passes)
        ]

    def leave(self, tower: Tower, number: int, per_batch: dict[int, Any]) -> None:
        """Called by a pass when its last block is done."""
        if tower.feeds:
            self._towers[tower.name] = tower
            wanted = {index: per_batch[index] for index in tower.feeds}
            self._finished.setdefault(tower.name, {})[number] = wanted

    def finished(self) -> dict[str, Tensor] | None:
        """Outputs of finished towers that later ones read; None where they cannot be told."""
        found: dict[str, Tensor] = {}
        for name, passes in self._finished.items():
            for number, kept in passes.items():
                outputs = flat(kept)
                if outputs is None:
                    return None
                found |= {f"{name}/{number}/{key}": value for key, value in outputs.items()}
        return found

    def finish(self, towers: Sequence[Tower], tensors: Mapping[str, Tensor]) -> None:
        """Take over the outputs of towers that another run has finished."""
        device = next(iter(self.batch.values())).device
        for tower in towers:
            passes: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                name, number, output = key.rsplit("/", 2)
                if name == tower.name:
                    passes.setdefault(int(number), {})[output] = value.to(device)
            if passes:
                self._towers[tower.name] = tower
                self._finished[tower.name] = {n: nested(kept) for n, kept in passes.items()}

    def _record(self, tower: Tower) -> list[list[Call]]:
        """Calls of every pass, hidden states handed through the blocks unchanged.

        So nothing else that blocks are called with may be made of them, as a detector makes places
        to look at, nor what a later pass begins with; and hidden states that are changed between
        two blocks may be made of those before alone. That is asked once, by other hidden states.
        """
        forms, asked = self.adapter.forms, f"{tower.name}: made of hidden states"
        if forms.get(asked):
            raise NotDirectError
        recorder = Recorder(tower, forms)
        self._forward(tower, recorder.forward)
        if any(len(calls) != len(tower.blocks) for calls in recorder.passes):
            raise NotDirectError
        if asked not in forms and (len(recorder.passes) > 1 or have_own(recorder.passes)):
            shifted = Recorder(tower, forms, shift=1.0)
            self._forward(tower, shifted.forward)
            forms[asked] = differ(recorder.passes, shifted.passes)
            if forms[asked]:
                raise NotDirectError
        if not self._changes_known(tower, recorder.passes):
            raise NotDirectError
        return recorder.passes

    def _changes_known(self, tower: Tower, passes: list[list[Call]]) -> bool:
        """Whether hidden states that are changed between blocks are made of one block's output."""
        places = sorted({call.index for calls in passes for call in calls if call.changed})
        asked = f"{tower.name}: changed before {places}"
        if asked not in self.adapter.forms:
            self.adapter.forms[asked] = len(places) <= _MOST_CHANGES and all(
                self._made_of_one(tower, passes, place) for place in places
            )
        return bool(self.adapter.forms[asked])

    def _made_of_one(self, tower: Tower, passes: list[list[Call]], place: int) -> bool:
        """Whether other outputs of the blocks before the last one change nothing at that place."""
        fixed = {place - 1: [calls[place - 1].hidden for calls in passes]}
        other = Recorder(tower, self.adapter.forms, shift=1.0, fixed=fixed)
        self._forward(tower, other.forward)
        return len(other.passes) == len(passes) and all(
            torch.equal(mine[place].hidden, theirs[place].hidden)
            for mine, theirs in zip(passes, other.passes, strict=True)
        )

    def _count(self, tower: Tower) -> list[list[Call]]:
        """First calls of every pass, blocks run for real."""
        passes: list[list[Call]] = []

        def forward(index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            if index == 0:
                passes.append([call_of(index, args, kwargs)])
                if len(passes) == tower.passes:
                    raise Stop
            return original(*args, **kwargs)

        self._forward(tower, forward)
        return passes

    @torch.no_grad()
    def fetch(self, tower: Tower, number: int, index: int, outputs: Mapping[int, Any]) -> Call:
        """What the model's own code calls block `index` with after the given earlier outputs."""
        found: list[Call] = []
        current = -1

        def forward(at: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            nonlocal current
            current += at == 0
            if current == number and at == index:
                found.append(call_of(at, args, kwargs))
                raise Stop
            if current == number and at in outputs:
                if shares(args, kwargs):
                    original(*args, **kwargs)  # fills what later blocks read
                # Some models write to what blocks return.
                return tree_map_only(Tensor, torch.clone, self.adapter.memory.back(outputs[at]))
            return original(*args, **kwargs)

        self._forward(tower, forward)
        return found[0]

    @torch.no_grad()
    def changed(self, tower: Tower, number: int, index: int, output: Any) -> Tensor:
        """Hidden states that the model's own code makes of the output of block `index`."""
        found: list[Tensor] = []
        output = self.adapter.memory.back(output)
        current = -1

        def forward(at: int, _original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            nonlocal current
            current += at == 0
            hidden = call_of(at, args, kwargs).hidden
            if current == number and at == index + 1:
                found.append(hidden)
                raise Stop
            return output if (current, at) == (number, index) else with_hidden(output, hidden)

        self._forward(tower, forward)
        return found[0]

    def _forward(self, tower: Tower, forward: "StandIn") -> None:
        """Run the model with the tower's blocks replaced and finished towers replayed.

        What a whole run has shown once holds for all batches: if nothing of this tower comes after
        the last tower of all has begun, the run ends there.
        """
        last, forms = self.adapter.towers[-1], self.adapter.forms
        asked = f"{tower.name}: over before {last.name}"
        begun = late = False

        def mine(index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            nonlocal late
            late |= begun
            return forward(index, original, args, kwargs)

        def end(_index: int, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
            nonlocal begun
            begun = True
            if forms.get(asked):
                raise Stop
            return original(*args, **kwargs)

        with ExitStack() as stack:
            stack.enter_context(blocks_replaced(tower, mine))
            if last.name != tower.name:
                stack.enter_context(blocks_replaced(last, end))
            for name, kept in self._finished.items():
                if name != tower.name:
                    replayer = Replayer(self.adapter.memory.back(kept))
                    stack.enter_context(blocks_replaced(self._towers[name], replayer.forward))
            try:
                self.adapter.forward(self.batch)
            except Stop:
                return
        forms.setdefault(asked, begun and not late)


def _keep(calls: Sequence[Call], memory: Memory) -> None:
    """Put the tensors of the calls where they wait best; one that several share stays one.

    Activations lie in order, as copies on disk do: sums in another order have other last bits.
    """
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for call in calls:
        for slot, value in list(call.slots()):
            if isinstance(value, Tensor):
                if id(value) not in kept:
                    ordered = value.contiguous() if value.is_floating_point() else value
                    kept[id(value)] = value, memory.keep(ordered)
                call.put(slot, kept[id(value)][1])
