"""Any recipe with least squares behind it: nearer to the dense outputs, same masks, resumable."""

import hashlib

import pytest
import torch

from app.errors import CalibrationDataError, RecipeError
from app.recipes.recipe import build_recipe
from app.recipes.reconstruction import LeastSquares
from tests.families import BY_NAME, records
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.resume import NoCheckpoints

SOLVED = LeastSquares()


def recipe_of(method, pattern="unstructured", **more):
    return build_recipe(method, {}, pattern, sparsity=0.5, **more)


@pytest.fixture
def pruned(family_directory):
    """The adapter after a recipe, and the report."""

    def run(recipe, family="llama", checkpoints=None):
        adapter = adapt(load_model(family_directory(family)))
        rows = records(BY_NAME[family].kind)
        batches = list(adapter.batches(rows, batch_size=2, max_length=24))
        return adapter, prune(adapter, recipe, batches, checkpoints=checkpoints)

    return run


def outputs_apart(adapter, dense, family="llama"):
    batches = list(adapter.batches(records(BY_NAME[family].kind), batch_size=2, max_length=24))
    with torch.no_grad():
        return sum(
            float((adapter.forward(batch).logits - dense.forward(batch).logits).square().sum())
            for batch in batches
        )


METHODS = ["magnitude", "wanda", "multiflow", "snip", "sparsegpt", "lamp"]
CASES = [*((method, "unstructured") for method in METHODS), ("magnitude", "2:4"), ("wanda", "2:4")]


@pytest.mark.parametrize(("method", "pattern"), CASES)
def test_the_model_comes_nearer_to_the_dense_one(pruned, family_directory, method, pattern):
    dense = adapt(load_model(family_directory("llama")))
    plain, told = pruned(recipe_of(method, pattern))
    solved, report = pruned(recipe_of(method, pattern, reconstruction=SOLVED))
    assert report.model.zeros == told.model.zeros
    assert [m.zeros for m in report.matrices] == [m.zeros for m in told.matrices]
    assert all(matrix.error is not None for matrix in report.matrices)
    assert outputs_apart(solved, dense) < outputs_apart(plain, dense)


def test_a_one_shot_importance_chooses_the_weights_it_would_choose_anyway(pruned):
    plain, _ = pruned(recipe_of("magnitude"))
    solved, _ = pruned(recipe_of("magnitude", reconstruction=SOLVED))
    for one, other in zip(plain.matrices, solved.matrices, strict=True):
        assert torch.equal(one.weight == 0, other.weight == 0)
        assert not torch.equal(one.weight, other.weight)


class Cut(Exception):  # noqa: N818 - the end of a process
    pass


class CutAt:
    def __init__(self, inner, at):
        self.inner, self.left = inner, at

    def get(self, name):
        return self.inner.get(name)

    def drop(self, name):
        self.inner.drop(name)

    def put(self, name, entry):
        self.inner.put(name, entry)
        self.left -= 1
        if not self.left:
            raise Cut


@pytest.mark.parametrize("method", ["magnitude", "wanda", "multiflow"])
def test_it_goes_on_where_it_was_cut_to_the_same_bytes(family_directory, tmp_path, method):
    source = family_directory("llama")

    def attempt(number, kept):
        out = tmp_path / str(number)
        copy_checkpoint(source, out)
        adapter = adapt(load_model(source, memory=Memory(out, activations=0, scratch=out)))
        batches = list(adapter.batches(records("text"), batch_size=2, max_length=24))
        report = prune(adapter, recipe_of(method, reconstruction=SOLVED), batches, checkpoints=kept)
        write_back(out, adapter.matrices, adapter.memory)
        digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
        return digest, report

    whole = attempt("whole", NoCheckpoints())
    for at in range(1, 9):
        kept = DiskCheckpoints(tmp_path / f"kept{at}", {}, limit=1 << 30)
        try:
            found = attempt(f"{at}-cut", CutAt(kept, at))
        except Cut:
            found = attempt(f"{at}-again", kept)
        assert found == whole


def test_it_needs_data_whatever_ranks_the_weights(family_directory):
    recipe = recipe_of("magnitude", reconstruction=SOLVED)
    assert recipe.needs_data
    adapter = adapt(load_model(family_directory("llama")))
    with pytest.raises(CalibrationDataError, match="least-squares needs calibration data"):
        prune(adapter, recipe)


@pytest.mark.parametrize(
    ("method", "parameters"), [("chita", {}), ("iterative-snip", {"stages": 2})]
)
def test_what_cannot_be_solved_for_is_refused_in_words(method, parameters):
    with pytest.raises(RecipeError, match="solve"):
        build_recipe(method, parameters, "unstructured", sparsity=0.5, reconstruction=SOLVED)
