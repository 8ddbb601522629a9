"""Which files are the model: one list for plans, downloads, jobs and exports."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.bill_of_materials import BILL_FILE
from app.errors import ModelFilesError, ModelLoadError, UnsafeWeightsError
from app.planning.model_files.files import (
    MOST_TENSORS,
    companions,
    entry_file,
    is_pickled,
    parse_index,
    select,
)
from app.planning.model_files.headers import StoredTensor
from app.recipes.pruning_report import REPORT_FILE
from app.recipes.routing_report import ROUTER_CONFIG_FILE, ROUTING_REPORT_FILE
from workers.pipeline.export import MANIFEST

MODEL = {"config.json", "model.safetensors"}


def test_what_belongs_to_a_model_and_what_does_not():
    mine = {
        *("config.json", "generation_config.json", "preprocessor_config.json"),
        *("tokenizer.json", "tokenizer.model", "source.spm", "target.spm", "vocab.txt"),
        *("bpe.codes", "merges.txt", "chat_template.jinja", "qwen.tiktoken", "LICENSE"),
        *("NOTICE", "LICENSE.md", "merges.bpe", "source.vocab"),
        *("1_Pooling/config.json", "2_Dense/model.safetensors"),
        "additional_chat_templates/tool.jinja",
    }
    others = {
        *("model.safetensors", "consolidated.safetensors", "adapter_model.safetensors"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json"),
        *("adapter_config.json", "training_args.json", "trainer_state.json"),
        *("training_args.bin", ".gitattributes", "README.md"),
        *(ROUTER_CONFIG_FILE, ROUTING_REPORT_FILE, REPORT_FILE, MANIFEST, BILL_FILE),
        *("modeling_x.py", "onnx/config.json", "a/1_Pooling/config.json", "1_Pooling/a/b.json"),
        *("tf_model.h5", "flax_model.msgpack", "model.gguf", ".hidden.json"),
    }
    assert companions(mine | others) == sorted(mine)


def test_the_index_belongs_where_there_is_no_single_file():
    names = {"config.json", "model.safetensors.index.json", "model-1-of-1.safetensors"}
    assert companions(names) == ["config.json", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (MODEL, "model.safetensors"),
        (MODEL | {"model.safetensors.index.json"}, "model.safetensors"),
        (MODEL | {"pytorch_model.bin", "consolidated.safetensors"}, "model.safetensors"),
        ({"config.json", "model.safetensors.index.json"}, "model.safetensors.index.json"),
    ],
)
def test_loading_begins_as_in_transformers(names, found):
    assert entry_file(names, "x") == found


@pytest.mark.parametrize(
    ("names", "error", "says"),
    [
        (set(), ModelFilesError, "neither"),
        ({"config.json", "consolidated.safetensors"}, ModelFilesError, "neither"),
        ({"config.json", "model.bin"}, UnsafeWeightsError, "pickled"),
        ({"adapter_config.json", "adapter_model.safetensors"}, ModelFilesError, "merge it"),
        ({"model.safetensors"}, ModelFilesError, r"no config\.json"),
    ],
)
def test_what_does_not_load_is_refused(names, error, says):
    with pytest.raises(error, match=says):
        entry_file(names, "x")


@pytest.mark.parametrize(
    "index",
    [
        *([], None, {}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"a": 1}}),
        *({"weight_map": {"a": name}} for name in ("../a.safetensors", "a.bin", "/a.safetensors")),
        *({"weight_map": {"a": name}} for name in ("b/a.safetensors", ".a.safetensors", "")),
        *({"weight_map": {"a": name}} for name in ("a\0.safetensors", "a\\b.safetensors", ["a"])),
        {"weight_map": {str(n): f"{n}.safetensors" for n in range(2001)}},
    ],
)
def test_an_index_that_is_none_is_refused(index):
    with pytest.raises(ModelLoadError, match=r"model\.safetensors\.index\.json"):
        parse_index(json.dumps(index).encode())


def test_tensors_come_in_the_order_of_the_index_and_all_of_them_must():
    places = {"b": "1.safetensors", "a": "2.safetensors"}
    headers = [{"b": StoredTensor((1,)), "spare": StoredTensor((9,))}, {"a": StoredTensor((2,))}]
    assert list(select(places, headers)) == ["b", "a"]
    with pytest.raises(ModelLoadError, match="do not hold: a"):
        select(places, headers[:1])


@given(st.binary(max_size=100))
def test_any_bytes_are_an_index_or_our_error(content):
    with pytest.raises(ModelLoadError):
        parse_index(content)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "ckpt"])
def test_pickles_are_told_by_their_names(suffix):
    assert is_pickled(f"model.{suffix}")
    assert not is_pickled(f"model.{suffix}.safetensors")
    with pytest.raises(UnsafeWeightsError, match="'x' has pickled weights only"):
        entry_file({"config.json", f"model.{suffix}", "README.md"}, "x")
    with pytest.raises(ModelFilesError, match=r"no \*\.safetensors file that loads"):
        entry_file({"config.json", f"model.{suffix}", "other.safetensors"}, "x")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("adapter_config.json", "it is an adapter"),
        ("model.gguf", "GGUF files are quantised"),
        ("tf_model.h5", "another framework"),
        ("flax_model.msgpack", "another framework"),
        ("model.onnx", "another framework"),
        ("model.tflite", "another framework"),
        ("notes.txt", r"neither model\.safetensors nor model\.safetensors\.index\.json"),
    ],
)
def test_what_there_is_instead_is_told(name, says):
    with pytest.raises(ModelFilesError, match=says):
        entry_file({"config.json", name}, "x")


def index(places, **more):
    return json.dumps({"weight_map": places, **more}).encode()


def test_bounds_of_an_index():
    places = {str(n): f"{n}.safetensors" for n in range(2000)}
    assert parse_index(index(places)) == places
    with pytest.raises(ModelLoadError, match="names 2001 files; 2000 are accepted"):
        parse_index(index(places | {"more": "more.safetensors"}))
    one = {"a": "1.safetensors"}
    full = index(one) + b" " * ((16 << 20) - len(index(one)))
    assert parse_index(full) == one
    with pytest.raises(ModelLoadError, match="longer than 16777216 bytes"):
        parse_index(full + b" ")
    commas = (1 << 20) - index(one, note="").count(b",") - 2
    assert parse_index(index(one, note="," * commas)) == one
    with pytest.raises(ModelLoadError, match="more than 1048576 values"):
        parse_index(index(one, note="," * (commas + 1)))
    assert parse_index(index(one, note=[[[[[[[]]]]]]])) == one
    with pytest.raises(ModelLoadError, match="nested more than 8 deep"):
        parse_index(index(one, note=[[[[[[[[]]]]]]]]))
    with pytest.raises(ModelLoadError, match=f"gives {'n' * 100!r} no "):
        parse_index(index({"n" * 200: "x.bin"}))


def test_tensors_of_a_checkpoint_are_bounded(monkeypatch):
    monkeypatch.setattr("app.planning.model_files.files.MOST_TENSORS", 2)
    places = dict.fromkeys("abc", "1.safetensors")
    headers = [{name: StoredTensor((1,))} for name in "abc"]
    assert len(select({"a": "", "b": ""}, headers)) == 2
    with pytest.raises(ModelLoadError, match="more than 2 tensors"):
        select(places, headers)
    assert MOST_TENSORS == 300_000
    many = dict.fromkeys("abcdefg", "1.safetensors")
    with pytest.raises(ModelLoadError, match=r"do not hold: b, c, d, e, f\."):
        select(many, headers[:1])
