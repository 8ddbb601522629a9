"""Any recipe with least squares behind it: nearer to the dense outputs, same masks, resumable."""

import hashlib

import pytest
import torch

from app.errors import CalibrationDataError, RecipeError
from app.recipes.recipe import build_recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.recovery import Recovery
from tests.families import BY_NAME, records
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.calibration.one_pass import OnePass, OutOfStepError
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.reconstruction.least_squares import LeastSquaresSolver
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


RESUMED = {
    **{method: recipe_of(method, reconstruction=SOLVED) for method in METHODS[:3]},
    "recommended": build_recipe("recommended", {"samples": 2}, "unstructured", sparsity=0.5),
    "wanda, one pass": recipe_of("wanda", walk="one-pass"),
    "recovery": recipe_of("magnitude", recovery=Recovery(steps=6)),
    "dense inputs": recipe_of("wanda", reconstruction=LeastSquares(objective="dense-inputs")),
}


@pytest.mark.parametrize("method", RESUMED)
def test_it_goes_on_where_it_was_cut_to_the_same_bytes(family_directory, tmp_path, method):
    source = family_directory("llama")

    def attempt(number, kept):
        out = tmp_path / str(number)
        copy_checkpoint(source, out)
        adapter = adapt(load_model(source, memory=Memory(out, activations=0, scratch=out)))
        batches = list(adapter.batches(records("text"), batch_size=2, max_length=24))
        with torch.enable_grad():
            report = prune(adapter, RESUMED[method], batches, checkpoints=kept)
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


class Inputs:
    """Inputs of linear layers in a model's own forward passes, by name, padding left out."""

    def __init__(self, adapter, batches, names):
        self.found = {name: [] for name in names}
        self.mask = None
        hooks = [
            adapter.model.get_submodule(name).register_forward_pre_hook(self._hook(name))
            for name in names
        ]
        with torch.no_grad():
            for batch in batches:
                self.mask = batch["attention_mask"].bool()
                adapter.forward(batch)
        for hook in hooks:
            hook.remove()

    def _hook(self, name):
        return lambda _module, args: self.found[name].append(args[0][self.mask])

    def __getitem__(self, name):
        return torch.cat(self.found[name])


def test_by_one_pass_every_matrix_sees_what_the_pruned_model_feeds_it(family_directory):
    recipe = recipe_of("wanda", walk="one-pass")
    adapter = adapt(load_model(family_directory("llama")))
    again = adapt(load_model(family_directory("llama")))
    batches = list(adapter.batches(records("text"), batch_size=2, max_length=24))
    prune(adapter, recipe, batches)
    order = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    names = sorted(
        (m.name for m in again.matrices),
        key=lambda name: (int(name.split(".")[2]), order.index(name.split(".")[-1])),
    )
    for name in names:  # the model's own forward, once more for every matrix
        weight = again.model.get_submodule(name).weight
        seen = Inputs(again, batches, [name])[name].double().square().sum(0)
        scores = (weight.abs() * (seen / len(records("text"))).sqrt().float()).detach()
        kept = adapter.model.get_submodule(name).weight
        gone = kept == 0
        assert gone.sum() == weight.numel() // 2
        with torch.no_grad():
            for row, lost in zip(scores, gone, strict=True):
                assert row[lost].max() <= row[~lost].min() * (1 + 1e-4)
            weight[gone] = 0
        assert torch.equal(weight, kept)


ONE_PASS = {
    "wanda": recipe_of("wanda", walk="one-pass"),
    "sparsegpt": recipe_of("sparsegpt", walk="one-pass"),
    "recommended": build_recipe("recommended", {"samples": 2}, "unstructured", sparsity=0.5),
}


def weights_after(directory, family, recipe, room=None):
    """All weights, and how often the first block was run."""
    adapter = adapt(load_model(directory, memory=Memory(activations=room)))
    batches = list(adapter.batches(records(BY_NAME[family].kind), batch_size=2, max_length=24))
    calls = []
    adapter.towers[-1].blocks[0].module.register_forward_hook(lambda *_: calls.append(1))
    with torch.enable_grad():
        prune(adapter, recipe, batches)
    return {matrix.name: matrix.fetch().clone() for matrix in adapter.matrices}, len(calls)


@pytest.mark.parametrize(
    ("family", "method"),
    [
        *((family, "wanda") for family in ("llama", "clip", "llava", "qwen2_vl", "blip2_t5")),
        *(("llava", method) for method in ("sparsegpt", "recommended")),
    ],
)
def test_one_pass_is_what_many_passes_are(family_directory, family, method):
    directory = family_directory(family)
    one, fewer = weights_after(directory, family, ONE_PASS[method])
    many, more = weights_after(directory, family, ONE_PASS[method], room=0)
    assert fewer < more
    assert one.keys() == many.keys()
    for name, weight in one.items():
        assert torch.equal(weight, many[name]), name


@pytest.mark.parametrize("at", [0, 2, None])
def test_a_batch_that_goes_another_way_is_given_up_and_the_result_is_the_same(
    family_directory, monkeypatch, at
):
    directory = family_directory("llama")
    many, _ = weights_after(directory, "llama", ONE_PASS["wanda"], room=0)
    collect = OnePass.collect

    def fail(*_):
        raise OutOfStepError

    def cut(self, calibration, number):
        (fail if number == at else collect)(self, calibration, number)

    monkeypatch.setattr(OnePass, "collect", cut)
    if at is None:
        monkeypatch.setattr(OnePass, "advance", fail)
    found, _ = weights_after(directory, "llama", ONE_PASS["wanda"])
    for name, weight in found.items():
        assert torch.equal(weight, many[name]), name


@pytest.mark.parametrize("objective", ["dense-inputs", "mixed"])
def test_the_moments_are_those_of_both_models(family_directory, monkeypatch, objective):
    solved = []
    target = LeastSquaresSolver.target

    def seen(solver, dense, statistic):
        solved.append((dense.clone(), statistic.mean.triu(), statistic.cross.clone()))
        return target(solver, dense, statistic)

    monkeypatch.setattr(LeastSquaresSolver, "target", seen)
    settings = LeastSquares(objective=objective)
    recipe = recipe_of("magnitude", reconstruction=settings, walk="one-pass")
    adapter = adapt(load_model(family_directory("llama")))
    plain = adapt(load_model(family_directory("llama")))
    batches = list(adapter.batches(records("text"), batch_size=2, max_length=24))
    report = prune(adapter, recipe, batches)
    names = [matrix.name for matrix in adapter.matrices]
    pruned, dense = Inputs(adapter, batches, names), Inputs(plain, batches, names)
    count = len(records("text"))
    assert len(solved) == len(names)
    for name in names:
        weight = plain.model.get_submodule(name).weight
        ((moments, cross),) = [(h, c) for w, h, c in solved if torch.equal(w, weight)]
        left, right = pruned[name].double(), dense[name].double()
        torch.testing.assert_close(moments, (left.T @ left).triu() / count, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(cross, left.T @ right, rtol=1e-4, atol=1e-4)
    shares = [matrix.dense_share for matrix in report.matrices]
    assert all(0 <= share <= 1 for share in shares)
    assert (set(shares) == {1}) == (objective == "dense-inputs")


@pytest.mark.parametrize("family", ["clip", "llava", "blip2_t5"])
def test_towers_that_feed_one_another_are_walked_through_twice(pruned, family):
    settings = LeastSquares(objective="dense-inputs")
    recipe = recipe_of("magnitude", reconstruction=settings, walk="one-pass")
    _, report = pruned(recipe, family)
    assert report.model.zeros >= report.model.asked == recipe.sparsity * report.model.weights
    assert {matrix.dense_share for matrix in report.matrices} == {1}
    first = [m for m in report.matrices if m.block == report.matrices[0].block]
    assert all(0 < matrix.relative_error < 1 for matrix in first)


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
