"""Quantised, adapted and mislabelled checkpoints are told by their headers, each by its cause."""

import pytest

from app.domain.checkpoint_form import check_form
from app.domain.errors import ModelLoadError
from app.domain.tensors import StoredTensor

LLAMA = {"architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 8}
Q = "model.layers.0.self_attn.q_proj"
PLAIN = {f"{Q}.weight": StoredTensor((8, 8), "BF16")}
EMBEDDING = "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        (f"{Q}.qweight", (1, 8), "I32", "GPTQ or AWQ"),
        (f"{Q}.g_idx", (8,), "I32", "GPTQ or AWQ"),
        (f"{Q}.weight.absmax", (1,), "F32", "bitsandbytes"),
        (f"{Q}.weight.quant_state.bitsandbytes__nf4", (9,), "U8", "bitsandbytes"),
        (f"{Q}.SCB", (8,), "F32", "bitsandbytes"),
        (f"{Q}.weight_packed", (8, 1), "I32", "compressed-tensors"),
        (f"{Q}.weight_scale_inv", (1, 1), "F32", "FP8"),
        ("model.layers.0.mlp.experts.gate_up_proj_blocks", (2, 8, 2, 16), "U8", "MXFP4"),
        (f"{Q}.weight", (8, 8), "I8", "q_proj.weight is stored as I8"),
        (f"{Q}.weight", (32, 1), "U8", "stored as U8, though config.json says nothing"),
        (f"{Q}.weight", (8, 8), "F8_E4M3", "stored as F8_E4M3"),
        (f"{Q}.weight", (8, 4), "F4", "stored as F4"),
        (f"base_model.model.{Q}.lora_A.weight", (4, 8), "F32", "LoRA adapter .* merge"),
        (EMBEDDING, (33, 8), "BF16", "has 33 rows, and config.json says vocab_size 32"),
        (EMBEDDING, (32, 16), "BF16", "is 16 wide, and config.json says 8"),
    ],
)
def test_each_form_is_named_with_a_tensor_that_shows_it(name, shape, dtype, words):
    with pytest.raises(ModelLoadError, match=words):
        check_form(LLAMA, PLAIN | {name: StoredTensor(shape, dtype)})


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "awq"}},
        {"text_config": {"quantization_config": {"quant_method": "awq"}}},
        {"quantization_config": "awq"},
        {"compression_config": {"format": "pack-quantized"}},
        {"quantization": {"group_size": 64, "bits": 4}},
    ],
)
def test_a_configuration_that_says_so_is_believed(config):
    with pytest.raises(ModelLoadError, match=r"quantised .*floating-point checkpoint"):
        check_form(config, PLAIN)


def test_what_is_no_weight_may_be_an_integer():
    tensors = {
        "embeddings.position_ids": StoredTensor((1, 512), "I64"),
        "transformer.h.0.attn.bias": StoredTensor((1, 1, 8, 8), "U8"),
        "layer.relative_position_index": StoredTensor((49, 49), "I64"),
        EMBEDDING: StoredTensor((32, 8), "F16"),
    }
    check_form(LLAMA, PLAIN | tensors)
    check_form({"quantization_config": None, **LLAMA}, PLAIN)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vocab_size": None, "hidden_size": None},
        {"vocab_size": "33", "hidden_size": "9"},
        {"vocab_size": 32},
        {"hidden_size": 8},
        {"hidden_size": 16, "word_embed_proj_dim": 8},
        {"vocab_size": 33, "hidden_size": 9, "text_config": {}},
    ],
)
def test_sizes_that_the_configuration_does_not_tell_are_not_looked_at(config):
    tensors = {EMBEDDING: StoredTensor((32, 8), "F16"), "wte.weight": StoredTensor((5,), "F32")}
    check_form(config, tensors)


@pytest.mark.parametrize("key", ["hidden_size", "d_model", "n_embd", "dim", "embedding_size"])
@pytest.mark.parametrize("name", [EMBEDDING, "shared.weight", "transformer.wte.weight"])
def test_widths_by_any_name(key, name):
    with pytest.raises(ModelLoadError, match=r"is 8 wide, and config\.json says 9"):
        check_form({key: 9}, {name: StoredTensor((32, 8), "F16")})
    with pytest.raises(ModelLoadError, match=r"has 32 rows, and config\.json says vocab_size 31"):
        check_form({"vocab_size": 31}, {name: StoredTensor((32, 8), "F16")})


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_floating_point_weights_are_plain(dtype):
    check_form({}, {f"{Q}.weight": StoredTensor((8, 8), dtype)})
    check_form({}, {f"{Q}.weight": StoredTensor((8,), "I8")})
