"""The matrix: every method x every family x every pattern, on tiny models, end to end."""

import copy

import pytest
import torch
import transformers
from transformers.utils import ModelOutput

from app.errors import CalibrationDataError, RecipeError
from app.recipes.allocation import Density, ECoFLaP, Uniform
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from tests.families import BY_NAME, records
from workers.pruning.calibration.tokens import stream_of
from workers.pruning.engine.prune import prune
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

PATTERNS = {"unstructured": 0.5, "2:4": 0.5, "1:4": 0.75, "4:8": 0.5}


@pytest.fixture(scope="module")
def prepared(family_directory):
    """A family's adapter and batches; what a cell does to the weights is undone by the next."""
    made = {}

    def prepare(family):
        if family not in made:
            adapter = adapt(load_model(family_directory(family)))
            rows = records(BY_NAME[family].kind)
            batches = list(adapter.batches(rows, batch_size=3, max_length=24))
            made[family] = adapter, batches, state(adapter.model)
        adapter, batches, dense = made[family]
        adapter.model.load_state_dict(dense)
        return adapter, batches, dense

    return prepare


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def hooks(model):
    """Number of hooks but for those by which transformers itself hands out hidden states."""
    every = [[*m._forward_hooks.values(), *m._forward_pre_hooks.values()] for m in model.modules()]
    return sum(hook.__name__ != "output_capturing_hook" for found in every for hook in found)


def copied(adapter, model):
    """The same adapter in front of another model."""
    other = copy.copy(adapter)
    other.model = model
    return other


def leading(output):
    return (output.to_tuple() if isinstance(output, ModelOutput) else output)[0]


def refused(method, pattern):
    """Whether the method has no meaning under the pattern, which it must say in words."""
    if pattern == "unstructured":
        return False
    try:
        build_recipe(method, {}, pattern, sparsity=PATTERNS[pattern])
    except RecipeError:
        return True
    return False


FEW = {"llava", "qwen2_vl", "bert", "t5", "gpt2"}  # unlike each other in how weights are stored
CELLS = [
    (family, method, pattern)
    for family in sorted(BY_NAME)
    for method in sorted(WEIGHT_METHODS)
    for pattern in PATTERNS
    # What a pattern does to a matrix does not depend on whose it is.
    if not refused(method, pattern) and (pattern in {"unstructured", "2:4"} or family in FEW)
]


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_every_cell(cell, prepared, family_directory, tmp_path):
    family, method, pattern = cell
    adapter, batches, before = prepared(family)
    sparsity = PATTERNS[pattern]
    few = {"stages": 2} if "stages" in WEIGHT_METHODS[method].model_fields else {}
    recipe = build_recipe(method, few, pattern, sparsity=sparsity, ignore=("*.1.*",))
    tells_apart = stream_of(adapter.model.config, batches[0]) is not None
    if recipe.allocation.scoring == Density() and not tells_apart:
        with pytest.raises(CalibrationDataError, match="no stream of both"):
            prune(adapter, recipe, batches)
        return
    hooked = hooks(adapter.model)
    watched = WEIGHT_METHODS[method].needs_data

    report = prune(adapter, recipe, batches if watched else ())

    assert hooks(adapter.model) == hooked
    after = adapter.model.state_dict()
    pruned = {matrix.module: matrix for matrix in report.matrices}
    touched = set()
    for matrix in adapter.matrices:
        weight = matrix.weight
        if matrix.name in pruned:
            touched.add(matrix.parameter.data_ptr())
            entry = pruned[matrix.name]
            assert entry.zeros == entry.asked == int((weight == 0).sum())
            if pattern != "unstructured":
                assert_groups(weight, pattern, mixed=isinstance(recipe.allocation, ECoFLaP))
    if pattern == "unstructured" or isinstance(recipe.allocation, ECoFLaP):
        assert_budgets(report)
    assert len(pruned) == sum(".1." not in matrix.name for matrix in adapter.matrices) > 0
    for name, value in adapter.model.named_parameters(remove_duplicate=False):
        assert value.dtype == before[name].dtype
        kept = ... if value.data_ptr() not in touched else value != 0
        if value.data_ptr() not in touched or not WEIGHT_METHODS[method].updates_weights:
            assert torch.equal(value[kept], before[name][kept]), name

    source = family_directory(family)
    export_checkpoint(source, tmp_path / "out", adapter.matrices)
    plain_class = getattr(transformers, adapter.loaded.config.architectures[0])
    plain = plain_class.from_pretrained(tmp_path / "out").eval()
    assert all(torch.equal(value, after[name]) for name, value in plain.state_dict().items())
    with torch.no_grad():
        mine = leading(adapter.forward(batches[0]))
        theirs = leading(copied(adapter, plain).forward(batches[0]))
    assert torch.equal(mine, theirs)


def assert_groups(weight, pattern, *, mixed):
    n, m = map(int, pattern.split(":"))
    zeros = (weight == 0).reshape(-1, m).sum(1)
    assert (zeros == (zeros[0] if mixed else m - n)).all()


def assert_budgets(report):
    """Exactly floor(sparsity x weights) of whatever the allocation shares out."""
    recipe = report.recipe
    if isinstance(recipe.allocation, Uniform):
        for matrix in report.matrices:
            rows, columns = matrix.shape
            by_row = rows * int(recipe.sparsity * columns)
            whole = int(recipe.sparsity * matrix.weights)
            assert matrix.zeros == (by_row if recipe.pattern.group == "row" else whole)
        return
    if isinstance(recipe.allocation, ECoFLaP):
        kept = report.model.weights - report.model.zeros
        assert kept == int((1 - recipe.sparsity) * report.model.weights)
        return
    wide = recipe.allocation.pool == "global"
    for pool in [report.model] if wide else report.modalities.values():
        assert pool.zeros == int(recipe.sparsity * pool.weights)
