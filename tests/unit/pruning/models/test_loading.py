"""What loads, what is refused, and in which words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from app.domain.errors import ModelLoadError, UnsupportedArchitectureError
from tests.families import BY_NAME
from tests.tiny import DECODER, save, tokenizer
from workers.pruning.models.converted import stored
from workers.pruning.models.loading import load_model
from workers.pruning.models.precision import suitable_dtype


@pytest.fixture
def directory(family_directory, tmp_path):
    """A copy of the tiny Llama to spoil."""
    return Path(shutil.copytree(family_directory("llama"), tmp_path / "llama"))


def edit_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(directory, edit):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_model_is_ready_to_run(directory):
    loaded = load_model(directory)
    assert isinstance(loaded.model, transformers.LlamaForCausalLM)
    assert not loaded.model.training
    assert loaded.directory == directory
    assert loaded.processor("a photo")["input_ids"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("asked", [torch.bfloat16, torch.float16, torch.float32, None])
def test_weights_stay_as_they_are_stored_whatever_the_model_computes_in(tmp_path, dtype, asked):
    config = transformers.LlamaConfig(**DECODER)
    save(tmp_path, transformers.LlamaForCausalLM, config, tokenizer(), dtype=dtype)
    edit_config(tmp_path, dtype="float32")  # what config.json claims does not matter
    model = load_model(tmp_path, asked).model
    expected = asked or suitable_dtype(dtype, torch.device("cpu"))
    assert {p.dtype for p in model.parameters()} == {model.dtype} == {expected}
    assert {stored(p).dtype for p in model.parameters()} == {dtype}


def test_of_mixed_dtypes_the_one_that_holds_all_matrices_is_used(directory):
    def narrow(tensors):
        for key, value in tensors.items():
            tensors[key] = value.to(torch.bfloat16 if "mlp" in key else torch.float32)

    edit_weights(directory, narrow)
    model = load_model(directory).model
    assert model.dtype == torch.float32
    layer = model.model.layers[0]
    assert stored(layer.mlp.up_proj.weight).dtype == torch.bfloat16
    expected = load_file(directory / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert torch.equal(stored(layer.self_attn.q_proj.weight), expected)


def test_norms_in_full_precision_do_not_widen_the_model(directory):
    def narrow(tensors):
        for key, value in tensors.items():
            tensors[key] = value.bfloat16() if value.ndim > 1 else value

    edit_weights(directory, narrow)
    model = load_model(directory).model
    assert model.dtype == suitable_dtype(torch.bfloat16, model.device)
    assert stored(model.model.norm.weight).dtype == torch.float32


def test_sharded_checkpoints_load(tmp_path):
    config = transformers.LlamaConfig(**DECODER)
    options = {"max_shard_size": "4KB"}
    save(tmp_path, transformers.LlamaForCausalLM, config, tokenizer(), **options)
    assert not (tmp_path / "model.safetensors").exists()
    loaded = load_model(tmp_path)
    assert len(loaded.checkpoint.files) > 2
    stored = set(loaded.checkpoint.tensors)
    assert stored == set(loaded.model.state_dict())


def test_missing_tensors_are_refused_by_name(directory):
    key = "model.layers.1.mlp.up_proj.weight"
    edit_weights(directory, lambda tensors: tensors.pop(key))
    with pytest.raises(ModelLoadError, match=key):
        load_model(directory)


def test_tied_weights_may_be_absent_from_the_files(family_directory):
    loaded = load_model(family_directory("gemma"))
    assert "lm_head.weight" not in loaded.checkpoint.tensors
    embedding = loaded.model.get_input_embeddings().weight
    assert loaded.model.lm_head.weight.data_ptr() == embedding.data_ptr()


def test_wrong_shapes_are_refused_by_name(directory):
    key = "model.layers.0.mlp.up_proj.weight"
    edit_weights(directory, lambda tensors: tensors.update({key: tensors[key][:-1].clone()}))
    with pytest.raises(ModelLoadError, match=key):
        load_model(directory)


def test_truncated_files_are_refused(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(ModelLoadError, match="broken or truncated"):
        load_model(directory)


def test_garbage_is_refused(directory):
    (directory / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelLoadError, match="broken or truncated"):
        load_model(directory)


def test_a_shard_that_is_not_there_is_named(tmp_path):
    config = transformers.LlamaConfig(**DECODER)
    options = {"max_shard_size": "4KB"}
    save(tmp_path, transformers.LlamaForCausalLM, config, tokenizer(), **options)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelLoadError, match=shard.name):
        load_model(tmp_path)


def test_pickles_are_never_loaded(directory):
    torch.save({}, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="Only safetensors"):
        load_model(directory)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd"])
def test_an_index_cannot_lead_out_of_the_directory(directory, name):
    (directory / "model.safetensors").rename(directory.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"x": name}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match="beside it"):
        load_model(directory)


def test_a_link_cannot_lead_out_of_the_directory(directory):
    path = directory / "model.safetensors"
    path.rename(directory.parent / "elsewhere.safetensors")
    path.symlink_to(directory.parent / "elsewhere.safetensors")
    with pytest.raises(ModelLoadError, match="leads out"):
        load_model(directory)


def test_the_hub_cache_layout_loads(directory, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in directory.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(blobs / path.name)
    assert load_model(snapshot).model.config.model_type == "llama"


def test_an_unknown_architecture_is_answered_with_near_names(directory):
    edit_config(directory, architectures=["LlamaForCasualLM"])
    with pytest.raises(UnsupportedArchitectureError, match="Did you mean LlamaForCausalLM"):
        load_model(directory)


def test_remote_code_is_never_run(directory):
    edit_config(
        directory, architectures=["OwnModel"], auto_map={"AutoModel": "modeling_own.OwnModel"}
    )
    (directory / "modeling_own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsupportedArchitectureError, match="never run"):
        load_model(directory)


@pytest.mark.parametrize("names", [None, [], [7], ["AutoModel"], ["logging"]])
def test_no_usable_architecture_is_refused(directory, names):
    edit_config(directory, architectures=names)
    with pytest.raises(UnsupportedArchitectureError):
        load_model(directory)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"transformers_weights": "../x.safetensors"}, "redirects"),
        ({"hidden_size": "many"}, "does not load"),
        ({"pad_token_id": 64}, "pad_token_id 64, and the vocabulary has no such token"),
    ],
)
def test_configs_that_cannot_be_pruned_are_refused(directory, change, words):
    edit_config(directory, **change)
    with pytest.raises(ModelLoadError, match=words):
        load_model(directory)


def test_an_adapter_and_another_copy_beside_the_model_are_not_read(directory):
    (directory / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for name in ("adapter_model.safetensors", "consolidated.safetensors"):
        save_file({"layers.0.wq.weight": torch.zeros(2, 16)}, directory / name)
    found = load_model(directory).checkpoint.tensors
    assert "model.layers.0.self_attn.q_proj.weight" in found
    assert "layers.0.wq.weight" not in found


def test_a_config_that_is_no_json_is_refused(directory):
    (directory / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="not valid JSON"):
        load_model(directory)


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match=r"config\.json is missing"):
        load_model(tmp_path)


def test_a_checkpoint_without_tokenizer_loads(directory):
    for path in directory.glob("tokenizer*"):
        path.unlink()
    assert load_model(directory).processor is None


def test_nothing_of_transformers_logging_is_left_changed(family_directory):
    logs = transformers.utils.logging
    before = logs.get_verbosity(), logs.is_progress_bar_enabled()
    load_model(family_directory(next(iter(BY_NAME))))
    assert (logs.get_verbosity(), logs.is_progress_bar_enabled()) == before
