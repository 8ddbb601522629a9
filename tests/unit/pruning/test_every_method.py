"""The matrix: every method x every family x every pattern, on tiny models, end to end."""

import pytest
import torch
import transformers
from transformers.utils import ModelOutput

from app.domain.methods import METHODS, build_recipe
from tests.families import BY_NAME, records
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.models.registry import adapt
from workers.pruning.prune import prune

PATTERNS = {"unstructured": 0.5, "2:4": 0.5, "1:4": 0.75, "4:8": 0.5}
MATCHES_ANY = pytest.mark.parametrize("family", sorted(BY_NAME))


def prepared(directory, family):
    adapter = adapt(load_model(directory))
    batches = list(adapter.batches(records(BY_NAME[family].kind), batch_size=3, max_length=24))
    return adapter, batches


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def hooks(model):
    """Number of hooks but for those by which transformers itself hands out hidden states."""
    every = [[*m._forward_hooks.values(), *m._forward_pre_hooks.values()] for m in model.modules()]
    return sum(hook.__name__ != "output_capturing_hook" for found in every for hook in found)


def leading(output):
    return (output.to_tuple() if isinstance(output, ModelOutput) else output)[0]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("method", sorted(METHODS))
@MATCHES_ANY
def test_every_cell(family, method, pattern, family_directory, tmp_path):
    source = family_directory(family)
    adapter, batches = prepared(source, family)
    sparsity = PATTERNS[pattern]
    recipe = build_recipe(method, {}, pattern, sparsity=sparsity, ignore=("*.1.*",))
    before, hooked = state(adapter.model), hooks(adapter.model)
    watched = METHODS[method].needs_data

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
            assert_pattern(weight, pattern, sparsity)
    assert len(pruned) == sum(".1." not in matrix.name for matrix in adapter.matrices) > 0
    for name, value in adapter.model.named_parameters(remove_duplicate=False):
        assert value.dtype == before[name].dtype
        kept = ... if value.data_ptr() not in touched else value != 0
        if value.data_ptr() not in touched or not METHODS[method].updates_weights:
            assert torch.equal(value[kept], before[name][kept]), name

    export_checkpoint(source, tmp_path / "out", adapter.matrices)
    plain_class = getattr(transformers, adapter.loaded.config.architectures[0])
    plain = plain_class.from_pretrained(tmp_path / "out").eval()
    assert all(torch.equal(value, after[name]) for name, value in plain.state_dict().items())
    with torch.no_grad():
        mine = leading(adapter.forward(batches[0]))
        adapter.model = plain
        theirs = leading(adapter.forward(batches[0]))
    assert torch.equal(mine, theirs)


def assert_pattern(weight, pattern, sparsity):
    zeros = weight == 0
    if pattern == "unstructured":
        rows, columns = weight.shape
        exact = {int(sparsity * rows * columns), rows * int(sparsity * columns)}
        assert int(zeros.sum()) in exact
    else:
        n, m = map(int, pattern.split(":"))
        assert (zeros.reshape(-1, m).sum(1) == m - n).all()
