"""Experts in what surrounds pruning: interrupted runs, masks to train on with."""

import pytest
import torch
import transformers

from app.recipes.recipe import build_recipe
from tests.tiny_models import records
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pipeline.export import MASKS, verify_sparsity, write_masks
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, read_weights, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.selection.keep_sparse import KeepSparse


class CutError(Exception):
    pass


def attempt(source, out, method, kept, *, until=None):
    """The bytes that a run makes, and what it did; cut after the block `until`."""

    def listen(progress):
        if until is not None and progress.phase == "pruning" and until in progress.block:
            raise CutError

    copy_checkpoint(source, out)
    adapter = adapt(load_model(source, memory=Memory(out, activations=0, scratch=out)))
    batches = list(adapter.batches(records("text"), batch_size=3, max_length=24))
    recipe = build_recipe(method, {}, "unstructured", sparsity=0.5, expert_tokens=8)
    report = prune(adapter, recipe, batches, listen, checkpoints=kept)
    write_back(out, adapter.matrices, adapter.memory)
    return adapter, report, (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "snip"])
@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_a_run_that_was_cut_comes_to_the_same_bytes(name, method, experts_directory, tmp_path):
    source = experts_directory(name)
    _, whole, expected = attempt(source, tmp_path / "whole", method, None)
    kept = DiskCheckpoints(tmp_path / "kept", {"run": 1}, limit=1 << 30)
    with pytest.raises(CutError):
        attempt(source, tmp_path / "cut", method, kept, until="layers.0")
    _, report, found = attempt(source, tmp_path / "again", method, kept)
    assert found == expected
    assert report.warnings == whole.warnings
    assert report.matrices == whole.matrices


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "dbrx"])
def test_masks_hold_the_plain_model_sparse(name, experts_directory, tmp_path):
    out = tmp_path / "out"
    adapter, report, _ = attempt(experts_directory(name), out, "wanda", None)
    verify_sparsity(read_weights(out).zeros, report.matrices)
    write_masks(tmp_path / "sparse", adapter, report.matrices)
    model_class = getattr(transformers, type(adapter.model).__name__)
    model = model_class.from_pretrained(out, dtype=torch.float32)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    with KeepSparse(model, tmp_path / "sparse" / MASKS) as sparse:
        assert sparse.revived() == 0
    zeros = sum(int((p == 0).sum()) for p in model.parameters())
    assert zeros == report.model.zeros
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter == 0, (before[key] == 0) & (parameter == 0)), key
