"""Weights in 8 bits: what is stored, and that plain transformers makes the same model of it."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import CompressedTensorsConfig

from app.recipes.quantization import NotQuantizableError
from tests.families import BY_NAME, records
from tests.models_of_experts import TEXT as EXPERTS
from tests.tiny_models import stored_as
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer

pytestmark = pytest.mark.filterwarnings("ignore")  # the format's reader warns of its own ways


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A tiny model in a dtype."""
    directory = tmp_path_factory.mktemp("models")

    def build(name, dtype=torch.bfloat16):
        if not (directory / name).exists():
            BY_NAME[name].build(directory / name)
        return stored_as(directory / name, directory / f"{name}-{dtype}", dtype)

    return build


def staged(source, out, dtype=torch.bfloat16):
    """The model, its weights in a copy of its files; half of them zero, some hardly not."""
    copy_checkpoint(source, out)
    adapter = adapt(load_model(source, dtype, Memory(out, scratch=out)))
    for matrix in adapter.matrices:
        size = matrix.weight.float().abs()
        matrix.weight[size < size.median()] = 0
        matrix.weight[0, :2] = torch.tensor([-1e-6, 1.0])  # too small for 8 bits beside the other
        matrix.weight[1] = 0  # nothing is left of an output
    return adapter


def output(found):
    return found.logits if "logits" in found else found[0]


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("llama", torch.bfloat16, "int8"),
        ("llava", torch.float16, "fp8"),
        ("llava", torch.bfloat16, "int8"),
        ("clip", torch.float32, "int8"),
        ("blip2_opt", torch.bfloat16, "fp8"),
        ("qwen2_vl", torch.bfloat16, "int8"),
        ("bert_mlm", torch.float16, "int8"),
        ("vit", torch.bfloat16, "fp8"),
    ],
)
def test_transformers_loads_what_was_rounded(built, tmp_path, name, dtype, kind):
    adapter = staged(built(name, dtype), tmp_path, dtype)
    zero = {m.file_key: (m.weight == 0).clone() for m in adapter.matrices}
    quantizer = Quantizer(adapter, kind)
    report = quantizer.round()
    batch = next(iter(adapter.batches(records(BY_NAME[name].kind, 2), batch_size=2, max_length=16)))
    with torch.no_grad():
        expected = output(adapter.call(batch))
    quantizer.write(tmp_path)

    files = load_file(tmp_path / "model.safetensors")
    stored = torch.int8 if kind == "int8" else torch.float8_e4m3fn
    assert report.matrices == len(adapter.matrices)
    assert report.block_share == 1
    zeros = 0
    for key, was in zero.items():
        assert files[key].dtype == stored
        raw = files[key].view(torch.uint8)
        assert not raw[was].any(), key  # no zero is anything else, -0 included
        zeros += int((raw == 0).sum())
        assert files[f"{key}_scale"].shape == (len(was), 1)
    pruned = sum(int(was.sum()) for was in zero.values())
    assert zeros == report.zeros == pruned + report.rounded_to_zero
    assert report.rounded_to_zero == sum(report.rounded.values()) >= len(zero)
    quantised = [key for key in files if key in zero or key.removesuffix("_scale") in zero]
    assert report.bytes == sum(files[key].nbytes for key in quantised)

    config = json.loads((tmp_path / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    model, info = model_class.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    assert {p.dtype for p in model.parameters()} == {dtype}
    with torch.no_grad():
        found = output(model.eval()(**batch))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for layer in quantizer.layers:
        assert torch.equal(model.get_submodule(layer.name).weight, layer.weight), layer.name


def test_weights_are_decompressed_later_where_asked_for(built, tmp_path):
    quantizer = Quantizer(staged(built("llama"), tmp_path), "int8")
    quantizer.round()
    layer = quantizer.layers[0]
    quantizer.write(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=CompressedTensorsConfig(dequantize=False)
    )
    assert model.get_submodule(layer.name).weight.dtype == torch.int8


def test_heads_projectors_and_embeddings_stay(built, tmp_path):
    source = built("llava")
    before = load_file(source / "model.safetensors")
    adapter = staged(source, tmp_path)
    quantizer = Quantizer(adapter, "int8")
    quantizer.round()
    quantizer.write(tmp_path)
    after = load_file(tmp_path / "model.safetensors")
    changed = {matrix.file_key for matrix in adapter.matrices}
    for key in before.keys() - changed:
        assert torch.equal(before[key], after[key]), key
    told = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert {"lm_head", "model.multi_modal_projector.linear_1"} <= set(told["ignore"])
    assert "multi_modal_projector.linear_1" in told["ignore"]  # as LlavaModel has it
    assert (told["quant_method"], told["format"]) == ("compressed-tensors", "int-quantized")
    assert told["dequantize"] is not told["run_compressed"] is False  # its name before


def test_shards_and_their_index_follow(built, tmp_path):
    source = tmp_path / "sharded"
    whole = built("llama")
    shutil.copytree(whole, source)
    (source / "model.safetensors").unlink()
    model = transformers.AutoModelForCausalLM.from_pretrained(whole, dtype=torch.bfloat16)
    model.save_pretrained(source, max_shard_size="6KB")
    out = tmp_path / "out"
    quantizer = Quantizer(staged(source, out), "int8")
    quantizer.round()
    quantizer.write(out)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    held = {key: file.name for file in out.glob("*.safetensors") for key in load_file(file)}
    assert index["weight_map"] == held
    sizes = [each.nbytes for file in out.glob("*.safetensors") for each in load_file(file).values()]
    assert index["metadata"]["total_size"] == sum(sizes)
    assert len(set(held.values())) > 1
    transformers.AutoModelForCausalLM.from_pretrained(out)


@pytest.mark.parametrize("name", ["gpt2"])
def test_a_model_without_linear_layers_is_refused(built, tmp_path, name):
    with pytest.raises(NotQuantizableError, match="no weight in its blocks"):
        Quantizer(staged(built(name), tmp_path), "int8")


def test_experts_are_refused(tmp_path):
    EXPERTS["mixtral"](tmp_path / "source")
    adapter = adapt(load_model(tmp_path / "source"))
    with pytest.raises(NotQuantizableError, match="experts"):
        Quantizer(adapter, "int8")
