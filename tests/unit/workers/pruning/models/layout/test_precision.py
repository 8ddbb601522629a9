"""Half precision computed in float32, block by block: the same results, no second model."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from tests.families import BY_NAME, records
from tests.tiny_models import DECODER, stored_as
from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Converted, Memory, stored
from workers.pruning.models.export import copy_checkpoint, export_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import compute_in, settle
from workers.pruning.models.loading import load_model

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
EVERY_METHOD = sorted(WEIGHT_METHODS)
UPDATING = {"sparsegpt", "admm", "recommended", "chita", "chita++"}  # what they write is rounded
FAMILIES = sorted(BY_NAME)
CASES = [("llava", method) for method in EVERY_METHOD] + [
    (family, EVERY_METHOD[at % len(EVERY_METHOD)])
    for at, family in enumerate(sorted(set(FAMILIES) - {"llava"}))
]


def tensors_of(directory):
    return {k: v for f in Path(directory).glob("*.safetensors") for k, v in load_file(f).items()}


def pruned_into(destination, source, family, method, *, in_place=False):
    memory = None
    if in_place:
        copy_checkpoint(source, destination)
        memory = Memory(destination, activations=0, scratch=destination)
    adapter = adapt(load_model(source, torch.float32, memory), include_bridge=True)
    batches = []
    if WEIGHT_METHODS[method].needs_data:
        kind = BY_NAME[family].kind
        batches = list(adapter.batches(records(kind), batch_size=3, max_length=24))
    few = {"stages": 2} if "stages" in WEIGHT_METHODS[method].model_fields else {}
    report = prune(adapter, build_recipe(method, few, "unstructured", sparsity=0.5), batches)
    if in_place:
        write_back(destination, adapter.matrices, adapter.memory)
    else:
        export_checkpoint(source, destination, adapter.matrices)
    return report


@pytest.mark.parametrize(("family", "method"), CASES)
def test_a_half_checkpoint_loses_the_weights_its_widened_copy_loses(
    family, method, family_directory, tmp_path
):
    half = stored_as(family_directory(family), tmp_path / "half", torch.bfloat16)
    wide = stored_as(half, tmp_path / "wide", torch.float32)
    report = pruned_into(tmp_path / "a", half, family, method)
    again = pruned_into(tmp_path / "b", half, family, method, in_place=True)
    assert report == again
    found = tensors_of(tmp_path / "a")
    for key, value in tensors_of(tmp_path / "b").items():
        assert torch.equal(value, found[key]), key
    if method in UPDATING:
        return
    pruned_into(tmp_path / "c", wide, family, method)
    for key, value in tensors_of(tmp_path / "c").items():
        assert torch.equal(value.to(found[key].dtype), found[key]), key


@pytest.mark.parametrize("kept", HALF)
def test_what_goes_on_to_the_next_block_is_what_was_stored(kept, family_directory, tmp_path):
    source = stored_as(family_directory("llama"), tmp_path / "half", HALF[kept])
    adapter = adapt(load_model(source, torch.float32))
    batches = list(adapter.batches(records("text"), batch_size=3, max_length=24))[:1]
    seen = []
    last = adapter.towers[0].blocks[-1].module
    last.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((*args, *kwargs.values())[0]), with_kwargs=True
    )
    prune(adapter, build_recipe("sparsegpt", {}, "unstructured", sparsity=0.5), batches)
    export_checkpoint(source, tmp_path / "out", adapter.matrices)
    plain = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        states = plain(**batches[0], output_hidden_states=True).hidden_states
    assert torch.allclose(seen[-1], states[-2], rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**DECODER)
    wide = transformers.LlamaForCausalLM(config).eval()
    half = transformers.LlamaForCausalLM(config).eval()
    for one, other in zip(wide.parameters(), half.parameters(), strict=True):
        other.data = one.data.bfloat16()
        one.data = other.data.float()
    return wide, half


def test_logits_and_gradients_are_those_of_a_float32_model(llama):
    wide, half = llama
    compute_in(half, torch.float32, torch.device("cpu"))
    ids = torch.arange(24).view(2, 12)
    assert half.dtype == torch.float32
    assert torch.equal(half(ids).logits, wide(ids).logits)
    for model in (half, wide):
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        model(ids, labels=ids).loss.backward()
    for one, other in zip(half.parameters(), wide.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert stored(one).dtype == torch.bfloat16
        assert stored(one).grad is None


def test_one_block_is_converted_at_a_time_and_once_for_many_batches(family_directory, tmp_path):
    source = stored_as(family_directory("llama"), tmp_path / "half", torch.bfloat16)
    adapter = adapt(load_model(source, torch.float32))
    made, real = [], torch.Tensor.to
    batches = list(adapter.batches(records("text"), batch_size=1, max_length=24))

    def spy(tensor, *args, **kwargs):
        if tensor.dtype == torch.bfloat16 and args == (torch.float32,):
            made.append(tensor)
        return real(tensor, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "to", spy)
        prune(adapter, build_recipe("wanda", {}, "unstructured", sparsity=0.5), batches)
    blocks = adapter.towers[0].blocks
    inside = [[m.parameter for m in block.matrices] for block in blocks]
    for weight in inside[0]:  # before it was pruned, and after
        assert sum(weight is each for each in made) <= 2
    copies = next(p for p in blocks[-1].module.parameters() if isinstance(p, Converted)).copies
    assert not any(weight in copies._found for weight in inside[0])


def test_stored_weights_are_written_to_and_seen_by_the_next_operation(llama):
    _, half = llama
    compute_in(half, torch.float32, torch.device("cpu"))
    projection = half.model.layers[0].mlp.down_proj
    inputs = torch.ones(1, projection.in_features)
    with torch.no_grad():
        assert projection(inputs).any()
        with pytest.raises(TypeError, match="as they are stored"):
            projection.weight.zero_()
        stored(projection.weight).detach().view(torch.int16).bitwise_and_(torch.tensor(0).short())
        assert not projection(inputs).any()


def test_a_settled_model_is_an_ordinary_one(family_directory, tmp_path):
    source = stored_as(family_directory("gemma"), tmp_path / "half", torch.bfloat16)
    model = load_model(source, torch.float32).model
    ids = torch.arange(12).view(1, 12)
    with torch.no_grad():
        before = model(ids).logits
        settle(model)
        assert not any(isinstance(p, Converted) for p in model.parameters())
        assert model.lm_head.weight is model.get_input_embeddings().weight
        assert torch.equal(model(ids).logits, before)


class _Scaled:
    """An adapter whose gradients have the size that is asked for."""

    def __init__(self, adapter, factor):
        self.model, self.towers = adapter.model, adapter.towers
        self.memory = adapter.memory
        self._adapter, self._factor = adapter, factor

    def loss(self, batch):
        return self._adapter.loss(batch) * self._factor


@pytest.mark.parametrize("family", ["llama", "llava", "t5"])
@pytest.mark.parametrize("rms", [1e-2, 1e-6, 1e-8])
@pytest.mark.parametrize("kept", HALF)
def test_gradients_do_not_underflow_in_half_precision(
    kept, rms, family, family_directory, tmp_path
):
    half = stored_as(family_directory(family), tmp_path / "half", HALF[kept])
    wide = stored_as(half, tmp_path / "wide", torch.float32)
    exact, narrow = adapt(load_model(wide)), adapt(load_model(half, HALF[kept]))
    kind = BY_NAME[family].kind

    def norms(adapter, factor):
        batch = next(iter(adapter.batches(records(kind), batch_size=3, max_length=24)))
        found = {}
        each_gradient(
            _Scaled(adapter, factor),
            batch,
            adapter.matrices,
            lambda m, g: found.update({m.name: float(g.double().norm())}),
        )
        return found

    dense = norms(exact, 1.0)
    numel = sum(m.numel for m in exact.matrices if m.name in dense)
    size = (sum(norm**2 for norm in dense.values()) / numel) ** 0.5
    expected, seen = norms(exact, rms / size), norms(narrow, rms / size)
    assert seen.keys() == expected.keys()
    for tower in exact.towers:
        for block in tower.blocks:
            names = [m.name for m in block.matrices if m.name in expected]
            whole = sum(expected[name] for name in names)
            assert sum(seen[name] for name in names) == pytest.approx(whole, rel=0.01), block.name
    assert {p.dtype for p in narrow.model.parameters()} == {HALF[kept]}
