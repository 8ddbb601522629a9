"""Gradients handed over one by one equal those of a plain backward pass, for every family."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import CalibrationDataError
from tests.families import BY_NAME, records
from workers.pruning import memory
from workers.pruning.calibration import gradients
from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def prepared(directory, family, **options):
    adapter = adapt(load_model(directory), **options)
    adapter.model.eval()
    batches = adapter.batches(records(BY_NAME[family].kind), batch_size=3, max_length=24)
    return adapter, next(iter(batches))


FUSED = ("gpt2", "blip_vqa", "qwen2_vl", "siglip")


@pytest.mark.parametrize(
    ("family", "split_qkv"),
    [(name, False) for name in sorted(BY_NAME)] + [(name, True) for name in FUSED],
)
def test_gradients_equal_a_plain_backward_pass(family, split_qkv, family_directory, monkeypatch):
    adapter, batch = prepared(family_directory(family), family, split_qkv=split_qkv)
    adapter.loss(batch).backward()
    expected = {
        m.name: m.part_of(m.parameter.grad).clone() if m.parameter.grad is not None else 0
        for m in adapter.matrices
    }
    kept = {
        name: p.grad.clone() for name, p in adapter.model.named_parameters() if p.grad is not None
    }
    frozen = next(adapter.model.parameters()).requires_grad_(False)

    def differentiate():
        found = {}
        with torch.no_grad():
            loss = each_gradient(
                adapter, batch, adapter.matrices, lambda m, g: found.update({m.name: g.clone()})
            )
        return loss, found

    _, made_once = differentiate()
    monkeypatch.setattr(gradients, "KEPT", 0)  # every block is checkpointed
    loss, seen = differentiate()
    assert made_once.keys() == seen.keys()
    assert all(torch.equal(gradient, seen[name]) for name, gradient in made_once.items())

    with torch.no_grad():
        assert loss == pytest.approx(float(adapter.loss(batch)), rel=1e-5)
    for name, gradient in expected.items():
        if name in seen:
            assert torch.allclose(seen[name], gradient, rtol=1e-4, atol=1e-6), name
        else:
            assert gradient is 0 or not gradient.any(), name  # noqa: F632 - the marker above
    assert not frozen.requires_grad
    assert all(
        torch.equal(p.grad, kept[name])
        for name, p in adapter.model.named_parameters()
        if name in kept
    )
    assert all("forward" not in module.__dict__ for module in adapter.model.modules())


@pytest.mark.parametrize("family", ["llama", "llava", "blip_vqa", "t5", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_block_inputs_wait_on_disk_and_weights_are_let_go(
    family, dtype, family_directory, tmp_path, monkeypatch
):
    source = tmp_path / "source"
    copy_checkpoint(family_directory(family), source)
    tensors = load_file(source / "model.safetensors")
    for key, value in tensors.items():
        tensors[key] = value.to(dtype) if value.is_floating_point() else value
    save_file(tensors, source / "model.safetensors", {"format": "pt"})

    def differentiate(limits):
        adapter = adapt(load_model(source, torch.float32, limits))
        batch = next(
            iter(adapter.batches(records(BY_NAME[family].kind), batch_size=3, max_length=24))
        )
        found = {}
        each_gradient(
            adapter, batch, adapter.matrices, lambda m, g: found.update({m.name: g.clone()})
        )
        return adapter, found

    _, expected = differentiate(Memory())
    copy_checkpoint(source, tmp_path / "output")
    monkeypatch.setattr(gradients, "KEPT", 0)
    monkeypatch.setattr(memory, "_SMALL", 1)
    limits = Memory(tmp_path / "output", activations=0, scratch=tmp_path)
    spilled, entered, spill = [], [], limits.spill
    monkeypatch.setattr(
        limits, "spill", lambda tensor: spilled.append(tensor.shape) or spill(tensor)
    )
    release = limits.release
    monkeypatch.setattr(limits, "release", lambda: entered.append(1) or release())
    adapter, found = differentiate(limits)
    blocks = sum(len(tower.blocks) for tower in adapter.towers)
    assert len(spilled) >= blocks
    assert len(entered) >= 2 * blocks - len(adapter.towers)  # forwards and on the way back
    assert found.keys() == expected.keys()
    assert all(torch.equal(gradient, expected[name]) for name, gradient in found.items())
    assert not limits._spilled  # the files went with the tensors


def test_gradients_are_freed_and_nothing_stays_after_an_error(family_directory):
    adapter, batch = prepared(family_directory("llama"), "llama")

    def fail(matrix, gradient):
        assert sum(p.grad is not None for p in adapter.model.parameters()) == 0
        if matrix is adapter.matrices[3]:
            raise InterruptedError

    before = {name: p.requires_grad for name, p in adapter.model.named_parameters()}
    with pytest.raises(InterruptedError):
        each_gradient(adapter, batch, adapter.matrices, fail)
    assert before == {name: p.requires_grad for name, p in adapter.model.named_parameters()}
    assert all(p.grad is None for p in adapter.model.parameters())
    assert not any(p._post_accumulate_grad_hooks for p in adapter.model.parameters())
    assert all("forward" not in module.__dict__ for module in adapter.model.modules())


def test_texts_cut_down_to_nothing_are_refused_in_words(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    one = torch.ones(2, 1, dtype=torch.int64)
    batch = {"input_ids": one, "attention_mask": one}
    with pytest.raises(CalibrationDataError, match="no text to predict"):
        adapter.loss(batch)
