"""One pass over the dense model serves any number of runs, bit for bit."""

import pytest
import torch

from app.recipes.allocation import Uniform
from app.recipes.methods.multiflow import Flow
from app.recipes.methods.wanda import Wanda
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME, records
from workers.pruning.engine.dense_pass import Digests
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def preset(method, **parameters):
    return build_recipe(method, parameters, "unstructured", sparsity=0.5)


RECIPES = {
    "multiflow": preset("multiflow"),
    "flow, uniform": Recipe(importance=Flow(), allocation=Uniform(), sparsity=0.5),
    "wanda on the dense model": Recipe(importance=Wanda(sequential=False), sparsity=0.5),
    "wanda": preset("wanda"),
    "ecoflap": preset("ecoflap"),
    "ecoflap, multiflow": preset("ecoflap", local="multiflow"),
}


@pytest.fixture
def make(family_directory):
    def build(family="llava"):
        adapter = adapt(load_model(family_directory(family)))
        rows = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(rows, batch_size=3, max_length=24))

    return build


@pytest.mark.parametrize("name", RECIPES)
def test_what_another_run_measured_gives_the_same_result(name, make):
    first, digests = RECIPES[name], Digests()
    second = first.model_copy(update={"sparsity": 0.7})
    adapter, batches = make()
    report = prune(adapter, first, batches, digests=digests)
    scores = report.allocation.scores if report.allocation else None
    alone, sharing = make()[0], make()[0]
    expected = prune(alone, second, batches)
    found = prune(sharing, second, batches, scores=scores, digests=Digests(digests.found))
    assert found == expected
    for mine, theirs in zip(sharing.matrices, alone.matrices, strict=True):
        assert torch.equal(mine.weight, theirs.weight), mine.name


@pytest.mark.parametrize(("name", "calls"), [("multiflow", 0), ("ecoflap, multiflow", 0)])
def test_the_model_is_not_run_again(name, calls, make):
    adapter, batches = make()
    digests = Digests()
    report = prune(adapter, RECIPES[name], batches, digests=digests)
    scores = report.allocation.scores if report.allocation else None
    again, _ = make()
    seen = []
    again.matrices[0].callers[0].register_forward_pre_hook(lambda *_: seen.append(1))
    prune(again, RECIPES[name], batches, scores=scores, digests=Digests(digests.found))
    assert len(seen) == calls
