"""A run that is cut anywhere and begun again comes to the bytes of one that was not."""

import hashlib
import os
import random
import signal
import time

import pytest
import torch

from app.errors import NonFiniteError
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from app.recipes.recovery import Recovery
from tests.families import BY_NAME, records
from tests.tiny_models import stored_as
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.calibration import walk
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.replay import TowerPass
from workers.pruning.models.loading import load_model
from workers.pruning.resume import Entry

EVERY_METHOD = sorted(
    set(WEIGHT_METHODS) - {"chita", "chita++"}
)  # see there: they solve at the end


class Killed(BaseException):
    pass


class Cut:
    """Checkpoints whose process dies at one of the writes, before or after it."""

    def __init__(self, inner, at=None, *, after=False):
        self.inner, self.at, self.after, self.puts = inner, at, after, 0

    def get(self, name):
        return self.inner.get(name)

    def drop(self, name):
        self.inner.drop(name)

    def put(self, name, entry):
        self.puts += 1
        if self.puts == self.at and not self.after:
            raise Killed
        self.inner.put(name, entry)
        if self.puts == self.at:
            raise Killed


@pytest.fixture
def attempt(family_directory, tmp_path):
    """One attempt at a family's job: the digests of what it makes, and its report."""

    def run(
        family,
        method,
        number,
        kept,
        pattern="unstructured",
        dtype=torch.float32,
        parts=None,
        **more,
    ):
        source = stored_as(family_directory(family), tmp_path / "source", dtype)
        out = tmp_path / str(number)
        copy_checkpoint(source, out)
        adapter = adapt(load_model(source, memory=Memory(out, activations=0, scratch=out)))
        batches = []
        if WEIGHT_METHODS[method].needs_data:
            rows = records(BY_NAME[family].kind)
            batches = list(adapter.batches(rows, batch_size=3, max_length=24))
        if "stages" in WEIGHT_METHODS[method].model_fields:
            more.setdefault("stages", 2)
        recipe = build_recipe(method, more, pattern, sparsity=0.5, **(parts or {}))
        report = prune(adapter, recipe, batches, checkpoints=kept)
        write_back(out, adapter.matrices, adapter.memory)
        files = sorted(out.glob("*.safetensors"))
        return report, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    return run


@pytest.fixture(autouse=True)
def _activations_are_always_worth_keeping(monkeypatch):
    monkeypatch.setattr(walk, "_WORTH", 0)


def disk(tmp_path, told=None):
    warn = (told or []).append
    return DiskCheckpoints(tmp_path / "kept", {}, limit=1 << 30, warn=warn)


def cut_at(attempt, tmp_path, family, method, moments, **more):
    """Kill at each moment in turn, then let an attempt end; compare with one that never was."""
    expected = attempt(family, method, "whole", None, **more)
    for number, (at, after) in enumerate(moments):
        with pytest.raises(Killed):
            attempt(family, method, number, Cut(disk(tmp_path), at, after=after), **more)
    told = []
    last = Cut(disk(tmp_path, told))
    assert attempt(family, method, "last", last, **more) == expected
    assert told == []
    return last.puts


@pytest.mark.parametrize("family", sorted(BY_NAME))
def test_every_family_goes_on_where_it_was_cut(family, attempt, tmp_path):
    at = random.Random(family).randrange(3, 6)
    cut_at(attempt, tmp_path, family, "wanda", [(at, True)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["ecoflap", "sparsegpt", "wanda"])
def test_half_precision_goes_on_where_it_was_cut(method, dtype, attempt, tmp_path):
    cut_at(attempt, tmp_path, "llava", method, [(3, True), (3, False)], dtype=dtype)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_every_method_goes_on_where_it_was_cut(method, attempt, tmp_path):
    cut_at(attempt, tmp_path, "llava", method, [(2, True)])


def test_a_survey_of_the_dense_model_goes_on_too(attempt, tmp_path):
    cut_at(attempt, tmp_path, "t5", "multiflow", [(4, True), (1, False)])


def test_patterns_go_on_too(attempt, tmp_path):
    cut_at(attempt, tmp_path, "gpt2", "sparsegpt", [(4, True)], pattern="2:4")


@pytest.mark.parametrize("family", ["siglip", "paligemma"])  # activations lie in another order
def test_blocks_pruned_in_turns_and_trained_go_on_too(family, attempt, tmp_path):
    parts = {"walk": "one-pass", "recovery": Recovery(steps=2, learning_rate=0.1)}
    moments = [(3, True), (4, True), (5, True)]
    cut_at(attempt, tmp_path, family, "admm", moments, parts=parts)


def test_ten_deaths_in_a_row_at_any_moment(attempt, tmp_path):
    draw = random.Random(0)
    moments = [(draw.randrange(1, 3), draw.random() < 0.7) for _ in range(10)]
    cut_at(attempt, tmp_path, "blip2_t5", "sparsegpt", moments)


def test_ten_sigkills_in_a_row(attempt, tmp_path):
    begun = time.monotonic()
    expected = attempt("blip_vqa", "wanda", "whole", None)
    seconds = time.monotonic() - begun
    draw = random.Random(0)
    for number in range(10):
        child = os.fork()
        if child == 0:
            try:
                attempt("blip_vqa", "wanda", number, disk(tmp_path))
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    told = []
    assert attempt("blip_vqa", "wanda", "last", disk(tmp_path, told)) == expected
    assert told == []


def test_each_attempt_does_the_rest_alone(attempt, tmp_path, monkeypatch):
    expected = Cut(disk(tmp_path))
    attempt("llama", "wanda", 0, expected)
    calls = []
    monkeypatch.setattr(TowerPass, "inputs", lambda *_: calls.append(1))
    again = Cut(disk(tmp_path))
    attempt("llama", "wanda", 1, again)
    assert (again.puts, calls) == (0, [])


@pytest.mark.parametrize("spared", ["activations", "pruned", "finite", "counts"])
def test_any_entry_may_be_missing(attempt, tmp_path, spared):
    expected = attempt("llava", "wanda", "whole", None)
    with pytest.raises(Killed):
        attempt("llava", "wanda", 0, Cut(disk(tmp_path), 7, after=True))
    files = sorted(f for f in (tmp_path / "kept").glob("*.safetensors") if spared in f.name)
    assert files
    files[len(files) // 2].unlink()
    assert attempt("llava", "wanda", 1, disk(tmp_path)) == expected


def test_weights_that_are_not_finite_are_not_called_finite(attempt, tmp_path, family_directory):
    kept = disk(tmp_path)
    adapter = adapt(load_model(family_directory("llama")))
    adapter.matrices[-1].weight[0, 0] = torch.nan
    recipe = build_recipe("magnitude", {}, "unstructured", sparsity=0.5)
    with pytest.raises(NonFiniteError):
        prune(adapter, recipe, checkpoints=kept)
    assert kept.get("finite") is None
    kept.put("finite", Entry())
