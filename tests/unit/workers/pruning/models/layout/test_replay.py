"""Batches go through a tower block by block, whatever the model does between its blocks."""

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from app.recipes.modality import Modality
from tests.families import BY_NAME, records
from workers.pruning.memory import Memory
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.replay import BatchRun
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.models.loading import load_model


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_families_hand_hidden_states_on_directly(name, family_directory, monkeypatch):
    """Known families never need to fetch a step from the model's own code."""
    adapter = adapt(load_model(family_directory(name)), include_bridge=True)
    batch = next(adapter.batches(records(BY_NAME[name].kind), batch_size=3, max_length=16))
    monkeypatch.delattr(BatchRun, "fetch")
    run = BatchRun(adapter, batch)
    for tower in adapter.towers:
        if tower.name.endswith("deepstack_merger_list"):
            continue  # its blocks read those of the vision tower, none the one before it
        for step in run.enter(tower):
            for index, block in enumerate(tower.blocks):
                args, kwargs = step.inputs(index)
                with torch.no_grad():
                    step.advance(index, block.module(*args, **kwargs))


def test_recording_leaves_the_model_as_it_was(family_directory):
    adapter = adapt(load_model(family_directory("t5")))
    batch = next(adapter.batches(records("text"), batch_size=3, max_length=16))
    run = BatchRun(adapter, batch)
    run.enter(adapter.towers[0])
    bad = BatchRun(adapter, {**batch, "input_ids": batch["input_ids"] + 1000})
    with pytest.raises(IndexError):
        bad.enter(adapter.towers[0])
    assert not any("forward" in vars(module) for module in adapter.model.modules())


def test_replayed_towers_are_not_run_again(family_directory):
    adapter = adapt(load_model(family_directory("llava")))
    batch = next(adapter.batches(records("pair"), batch_size=3, max_length=16))
    run = BatchRun(adapter, batch)
    vision, language = adapter.towers
    for step in run.enter(vision):
        for index, block in enumerate(vision.blocks):
            args, kwargs = step.inputs(index)
            with torch.no_grad():
                step.advance(index, block.module(*args, **kwargs))
    calls = []
    for block in vision.blocks:
        linear = block.matrices[0].callers[0]
        linear.register_forward_hook(lambda *_: calls.append(1))
    run.enter(language)
    assert not calls


# -- models of odd shapes -----------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self, width=4, out=4):
        super().__init__()
        self.linear = nn.Linear(width, out)

    def forward(self, hidden):
        return self.linear(hidden)


class TwoStreams(Plain):
    """Returns a second stream that the next block reads."""

    def forward(self, hidden, other):
        hidden = self.linear(hidden) + other
        return hidden, other + hidden.mean(-1, keepdim=True)


class Named(Plain):
    def forward(self, hidden):
        return BaseModelOutput(last_hidden_state=self.linear(hidden))


class Toy(nn.Module):
    """Runs its blocks `passes` times; `between` acts on hidden states before each block."""

    def __init__(self, blocks, between=lambda hidden, _index: hidden, passes=1):
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.between, self.passes = between, passes

    def forward(self, x):
        for _ in range(self.passes):
            for index, block in enumerate(self.layers):
                x = hidden_of(block(self.between(x, index)))
        return x


class TwoStreamToy(Toy):
    def forward(self, x):
        other = x * 2
        for block in self.layers:
            x, other = block(x, other)
        return x


class Filling(Plain):
    """Puts something aside for the blocks after it."""

    def forward(self, hidden, shared):
        shared["first"] = own = self.linear(hidden)
        return own


class Reading(Plain):
    def forward(self, hidden, shared):
        return self.linear(hidden) + shared["first"]


class SharedToy(Toy):
    def forward(self, x):
        shared = {}
        for index, block in enumerate(self.layers):
            x = block(self.between(x, index), shared)
        return x


class WrittenTo(Toy):
    """Adds to what its blocks return, in place."""

    def forward(self, x):
        for index, block in enumerate(self.layers):
            if index:
                x += index
            x = block(x)
        return x


class Skipping(Toy):
    """Its last block reads the output of the first one too."""

    def forward(self, x):
        first = self.layers[0](x)
        return self.layers[2](self.layers[1](first) + first)


class ReplayableModel:
    def __init__(self, model, *towers):
        self.model, self.forms, self.memory, self.towers = model, {}, Memory(), towers

    def forward(self, batch):
        return self.model(batch["x"])

    def token_mask(self, tower, batch, seen, *, source):
        return None


def shifted(hidden, index):
    return hidden + index


def sliced(hidden, _index):
    return hidden[:, slice(0, None), :]


def doubled_width(hidden, index):
    return torch.cat([hidden, hidden], -1) if index else hidden


TOYS = {
    "plain": lambda: Toy([Plain() for _ in range(3)]),
    "named outputs": lambda: Toy([Named() for _ in range(3)]),
    "added to between blocks": lambda: Toy([Plain() for _ in range(3)], shifted),
    "sliced between blocks, and nothing lost": lambda: Toy([Plain() for _ in range(3)], sliced),
    "reshaped between blocks": lambda: Toy([Plain(), Plain(8), Plain(8)], doubled_width),
    "narrowing blocks": lambda: Toy([Plain(4, 3), Plain(3, 2), Plain(2, 1)]),
    "written to between blocks": lambda: WrittenTo([Plain() for _ in range(3)]),
    "skipping a block": lambda: Skipping([Plain() for _ in range(3)]),
    "changed at every place": lambda: Toy([Plain() for _ in range(12)], shifted),
    "two streams": lambda: TwoStreamToy([TwoStreams() for _ in range(3)]),
    "a shared store": lambda: SharedToy([Filling(), Reading(), Reading()]),
    "a shared store and more": lambda: SharedToy([Filling(), Reading(), Reading()], shifted),
    "one block many times": lambda: Toy([Plain()], passes=3),
}


@pytest.mark.parametrize("passes", [1, None], ids=["declared", "unknown"])
@pytest.mark.parametrize("name", sorted(TOYS))
def test_the_model_is_reproduced_and_changes_are_handed_on(name, passes):
    torch.manual_seed(0)
    model = TOYS[name]()
    if model.passes > 1 and passes is not None:
        passes = model.passes
    blocks = tuple(Block(str(i), block, ()) for i, block in enumerate(model.layers))
    tower = Tower("layers", Modality.LANGUAGE, blocks, passes=passes)
    runner = ReplayableModel(model, tower)
    for seed in range(2):  # the second batch uses what the first taught
        x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
        for change in (False, True):
            run = BatchRun(runner, {"x": x})
            steps = run.enter(tower)
            assert len(steps) == model.passes
            for step in steps:
                for index, block in enumerate(blocks):
                    args, kwargs = step.inputs(index)
                    step.inputs(index)  # asking twice changes nothing
                    if change and model.passes == 1:
                        block.module.linear.weight.data[0] = 0
                    with torch.no_grad():
                        output = block.module(*args, **kwargs)
                    step.advance(index, output)
            with torch.no_grad():
                expected = model(x)
            assert torch.equal(hidden_of(output), expected)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("sliced between blocks, and nothing lost", 0),  # as Gemma 4 does
        ("added to between blocks", 2),  # as Qwen3-VL does
        ("a shared store and more", 2),
        ("skipping a block", None),  # what the last block reads is not made of one output
        ("written to between blocks", None),
        ("changed at every place", None),
    ],
)
def test_only_what_is_changed_between_blocks_is_asked_of_the_model(name, asked):
    torch.manual_seed(0)
    model = TOYS[name]()
    tower = tower_of(model, "layers", passes=1)
    runner, ran = ReplayableModel(model, tower), []
    for number in range(2):
        (step,) = BatchRun(runner, {"x": torch.randn(2, 3, 4)}).enter(tower)
        changed, fetch = step.run.changed, step.run.fetch
        step.run.changed = lambda *args, own=changed: ran.append("changed") or own(*args)
        step.run.fetch = lambda *args, own=fetch: ran.append("fetch") or own(*args)
        for index, block in enumerate(tower.blocks):
            args, kwargs = step.inputs(index)
            with torch.no_grad():
                step.advance(index, block.module(*args, **kwargs))
        assert set(ran) <= ({"fetch"} if asked is None else {"changed"})
        assert len(ran) == (number + 1) * (len(tower.blocks) - 1 if asked is None else asked)


def test_a_walk_is_taken_up_where_hidden_states_are_changed():
    torch.manual_seed(0)
    model = Toy([Plain() for _ in range(3)], shifted)
    tower, x = tower_of(model, "layers", passes=1), torch.randn(2, 3, 4)
    runner = ReplayableModel(model, tower)
    (whole,) = BatchRun(runner, {"x": x}).enter(tower)
    (other,) = BatchRun(runner, {"x": x}).enter(tower)
    with torch.no_grad():
        args, kwargs = whole.inputs(0)
        whole.advance(0, model.layers[0](*args, **kwargs))
        other.resume(1, whole.state())
        for each in (whole, other):
            for index in (1, 2):
                args, kwargs = each.inputs(index)
                output = model.layers[index](*args, **kwargs)
                each.advance(index, output)
            assert torch.equal(output, model(x))


def test_a_walk_with_a_shared_store_is_not_taken_up_in_the_middle():
    model = SharedToy([Filling(), Reading(), Reading()])
    blocks = tuple(Block(str(i), block, ()) for i, block in enumerate(model.layers))
    tower = Tower("layers", Modality.LANGUAGE, blocks, passes=1)
    (step,) = BatchRun(ReplayableModel(model, tower), {"x": torch.randn(1, 2, 4)}).enter(tower)
    assert step.state() is None


def test_several_passes_are_told_apart():
    torch.manual_seed(0)
    model = Toy([Plain(), Plain()])
    blocks = tuple(Block(str(i), block, ()) for i, block in enumerate(model.layers))
    tower = Tower("layers", Modality.TEXT, blocks, passes=2)

    class Twice(ReplayableModel):
        def forward(self, batch):
            return self.model(batch["x"]), self.model(-batch["x"])

    x = torch.randn(2, 3, 4)
    first, second = BatchRun(Twice(model, tower), {"x": x}).enter(tower)
    assert torch.equal(first.inputs(0)[0][0], x)
    assert torch.equal(second.inputs(0)[0][0], -x)


def tower_of(toy, name, **options):
    blocks = tuple(Block(f"{name}.{i}", block, ()) for i, block in enumerate(toy.layers))
    return Tower(name, Modality.TEXT, blocks, **options)


def runs_of(toy):
    runs = []
    toy.layers[-1].linear.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_a_pass_that_begins_with_what_another_one_made_is_not_recorded_ahead():
    torch.manual_seed(0)
    model = Toy([Plain(), Plain()], passes=3)
    tower, x = tower_of(model, "layers"), torch.randn(2, 3, 4)
    runner, begins = ReplayableModel(model, tower), []
    handle = model.layers[0].register_forward_pre_hook(lambda _, args: begins.append(args[0]))
    model(x)
    handle.remove()
    for _ in range(2):
        steps = BatchRun(runner, {"x": x}).enter(tower)
        assert all(map(torch.equal, [step.inputs(0)[0][0] for step in steps], begins))
        assert len(steps) == 3


def test_a_tower_the_batch_does_not_reach_has_no_passes_and_is_looked_for_once():
    model, other = Toy([Plain(), Plain()]), Toy([Plain(), Plain()])
    tower = tower_of(other, "other")
    runner, runs = ReplayableModel(model, tower, tower_of(model, "model")), runs_of(model)
    for _ in range(3):
        assert BatchRun(runner, {"x": torch.randn(1, 2, 4)}).enter(tower) == []
    assert len(runs) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_model_is_run_to_its_end_only_where_a_tower_is_called_late(again):
    first, last = Toy([Plain(), Plain()]), Toy([Plain(), Plain()])
    tower, runs = tower_of(first, "first"), runs_of(last)

    class Both(ReplayableModel):
        def forward(self, batch):
            x = last(first(batch["x"]))
            return first(x) if again else x

    runner = Both(None, tower, tower_of(last, "last"))
    x = torch.randn(2, 3, 4)
    found = [len(BatchRun(runner, {"x": x}).enter(tower)) for _ in range(4)]
    assert found == [1 + again] * 4
    assert len(runs) == (6 if again else 1)  # the first batch takes three to learn it
