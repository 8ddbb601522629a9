"""The pruned checkpoint is the original's files with nothing but pruned tensors changed."""

import json
import pickle
import re

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.errors import ModelLoadError
from tests.tiny_models import DECODER, save, tokenizer
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def pruned(directory, **options):
    """Adapter with half of the matrices zeroed in a pattern, and these matrices."""
    adapter = adapt(load_model(directory), **options)
    some = adapter.matrices[::2]
    for matrix in some:
        matrix.weight[1::2, ::2] = 0
    return adapter, some


def files(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()
    }


def test_only_the_bytes_of_pruned_tensors_change(family_directory, tmp_path):
    source = family_directory("llama")
    adapter, some = pruned(source)
    export_checkpoint(source, tmp_path, some)
    before, after = files(source), files(tmp_path)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}
    old, new = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {matrix.file_key for matrix in some}
    assert all(torch.equal(new[m.file_key], m.parameter.detach()) for m in adapter.matrices)


def test_shards_index_and_metadata_are_the_originals(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    config = transformers.LlamaConfig(**DECODER)
    options = {"max_shard_size": "4KB", "dtype": torch.bfloat16}
    save(source, transformers.LlamaForCausalLM, config, tokenizer(), **options)
    adapter, some = pruned(source)
    export_checkpoint(source, out, some)
    assert files(source).keys() == files(out).keys()
    index = "model.safetensors.index.json"
    assert (source / index).read_bytes() == (out / index).read_bytes()
    for shard in source.glob("*.safetensors"):
        with safe_open(shard, "pt") as old, safe_open(out / shard.name, "pt") as new:
            assert old.metadata() == new.metadata()
            assert list(old.keys()) == list(new.keys())
    plain = transformers.LlamaForCausalLM.from_pretrained(out)
    assert plain.dtype == torch.bfloat16
    expected = adapter.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in plain.state_dict().items())


def test_weights_computed_wider_are_stored_as_narrow_as_before(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    config = transformers.LlamaConfig(**DECODER)
    save(source, transformers.LlamaForCausalLM, config, tokenizer(), dtype=torch.bfloat16)
    adapter = adapt(load_model(source, torch.float32))
    matrix = adapter.matrices[0]
    matrix.weight[0] = 0
    export_checkpoint(source, out, [matrix])
    old, new = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    kept = old.pop(matrix.file_key)
    kept[0] = 0
    stored = new.pop(matrix.file_key)
    assert stored.dtype == torch.bfloat16
    assert torch.equal(stored, kept)
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_config_gets_no_entry(family_directory, tmp_path):
    source = family_directory("clip")
    _, some = pruned(source)
    export_checkpoint(source, tmp_path, some)
    assert (source / "config.json").read_bytes() == (tmp_path / "config.json").read_bytes()
    assert "sparsity" not in (tmp_path / "config.json").read_text()


def test_what_does_not_belong_to_a_checkpoint_stays_behind(family_directory, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name, content in files(family_directory("llama")).items():
        (source / name).write_bytes(content)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    (source / "optimizer.pt").write_bytes(b"x")
    (source / "trainer_state.json").write_text("{}")
    (source / "modeling_own.py").write_text("")
    (source / ".git").mkdir()
    (source / ".git" / "config").write_text("")
    (source / "original").mkdir()
    (source / "original" / "params.json").write_text("{}")
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text("{}")
    (source / "LICENSE").write_text("terms")
    _, some = pruned(source)
    export_checkpoint(source, out, some)
    assert set(files(out)) == {
        *files(family_directory("llama")),
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
        "1_Pooling/config.json",
        "LICENSE",
    }


def test_a_link_out_of_the_source_is_refused(family_directory, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name, content in files(family_directory("llama")).items():
        (source / name).write_bytes(content)
    _, some = pruned(source)
    (tmp_path / "outside.json").write_text("{}")
    (source / "notes.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(ModelLoadError, match="leads out"):
        export_checkpoint(source, out, some)


def test_a_source_that_changed_since_is_refused(family_directory, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name, content in files(family_directory("llama")).items():
        (source / name).write_bytes(content)
    _, some = pruned(source)
    tensors = load_file(source / "model.safetensors")
    tensors.pop(some[0].file_key)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match="no longer holds"):
        export_checkpoint(source, out, some)


def test_the_source_is_never_overwritten(family_directory):
    source = family_directory("llama")
    before = files(source)
    with pytest.raises(ModelLoadError, match="cannot replace its own source"):
        export_checkpoint(source, source, [])
    assert files(source) == before


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "paligemma", "vit", "clip"])
def test_checkpoints_in_the_new_layout_keep_it(name, family_directory, tmp_path):
    """Files whose keys are the module names, as transformers 5 may also write them."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for file, content in files(family_directory(name)).items():
        (source / file).write_bytes(content)
    model = load_model(source).model
    keys = {parameter.data_ptr(): key for key, parameter in model.named_parameters()}
    tensors = {key: model.get_parameter(key).detach().clone() for key in keys.values()}
    tensors |= {k: v for k, v in model.named_buffers() if k in model.state_dict()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})

    adapter, some = pruned(source)
    assert {matrix.file_key for matrix in adapter.matrices} <= tensors.keys()
    export_checkpoint(source, out, some)
    architecture = json.loads((out / "config.json").read_text())["architectures"][0]
    plain = getattr(transformers, architecture).from_pretrained(out)
    expected = adapter.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in plain.state_dict().items())


# How hub checkpoints of these models spell their keys: (pattern, replacement) on what is written
# today, and tensors that hub files hold beside the model's own.
HUB_LAYOUTS = {
    "llava": ([(r"^vision_tower\.", "vision_tower.vision_model.")], {}),
    "paligemma": ([(r"^vision_tower\.", "vision_tower.vision_model.")], {}),
    "gpt2": ([(r"^transformer\.", "")], {"h.0.attn.bias": torch.ones(1, 1, 8, 8)}),
    "bert": ([(r"^", "bert."), ("LayerNorm.weight", "LayerNorm.gamma")], {}),
    "bert_mlm": ([], {"cls.seq_relationship.weight": torch.ones(2, 16)}),
    "opt": ([(r"^model\.", "")], {}),
}


@pytest.mark.parametrize("name", sorted(HUB_LAYOUTS))
def test_checkpoints_in_the_hubs_layout_keep_it(name, family_directory, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for file, content in files(family_directory(name)).items():
        (source / file).write_bytes(content)
    renames, extra = HUB_LAYOUTS[name]
    tensors = dict(extra)
    for key, value in load_file(source / "model.safetensors").items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)  # noqa: PLW2901 (one rename after another)
        tensors[key] = value
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})

    adapter, some = pruned(source)
    export_checkpoint(source, out, some)
    stored = load_file(out / "model.safetensors")
    assert stored.keys() == tensors.keys()
    for matrix in adapter.matrices:
        assert torch.equal(stored[matrix.file_key], matrix.parameter.detach())
    plain = load_model(out).model
    expected = adapter.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in plain.state_dict().items())
