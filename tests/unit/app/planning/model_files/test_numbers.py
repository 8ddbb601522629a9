"""Numbers that a configuration or a header tells, and their bounds."""

import re

import pytest

from app.errors import ModelLoadError
from app.planning.model_files.files import (
    MOST_TENSORS,
    architecture,
    check_number,
    image_of,
    number,
    section,
    why_unreadable,
)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *((1, 1), (9, 9), (10, 10), (11, 0), (0, 0), (-1, 0)),
        *((True, 0), (3.0, 0), ("3", 0), (None, 0), ([3], 0)),
    ],
)
def test_a_number_is_a_positive_integer_up_to_its_bound(value, found):
    assert number({"layers": value}, "layers", most=10) == found


def test_what_is_not_there_is_no_number():
    assert number({}, "layers") == 0
    assert number({"layers": 1 << 31}, "layers") == 1 << 31
    assert number({"layers": (1 << 31) + 1}, "layers") == 0


def test_a_part_of_a_configuration_or_the_whole():
    assert section({"text_config": {"a": 1}}, "text_config") == {"a": 1}
    assert section({"text_config": [1]}, "text_config") == {"text_config": [1]}
    assert section({"a": 1}, "text_config") == {"a": 1}


@pytest.mark.parametrize(
    ("config", "tokens", "values"),
    [
        ({}, 0, 0),
        ({"vision_config": {}}, 1024, 3 * 448**2),
        ({"vision_config": {"image_size": 224}}, 1024, 3 * 448**2),
        ({"vision_config": {"patch_size": 14}}, 1024, 3 * 448**2),
        ({"vision_config": {"image_size": 230, "patch_size": 16}}, 14**2, 3 * 230**2),
        ({"image_size": 32, "patch_size": 16}, 4, 3 * 32**2),
        ({"patch_size": 16}, 1024, 3 * 448**2),
        ({"image_size": 32}, 0, 0),
    ],
)
def test_an_image_is_as_large_as_the_model_s_own(config, tokens, values):
    """Of any size where the configuration tells none."""
    assert image_of(config) == (tokens, values)


@pytest.mark.parametrize("given", [None, [], {}, [3], [None], "LlamaForCausalLM"])
def test_a_class_that_is_none(given):
    assert architecture({"architectures": given}) == ""


def test_the_first_class_is_the_model_s():
    assert architecture({"architectures": ["A", "B"]}) == "A"


def test_as_many_matrices_as_any_model_has():
    check_number(MOST_TENSORS)
    with pytest.raises(ModelLoadError, match=f"more than {MOST_TENSORS} matrices"):
        check_number(MOST_TENSORS + 1)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer.json", b"", "it is empty"),
        ("vocab.json", b" \n", "it is empty"),
        ("tokenizer.json", b'{"a": 1', "cut off"),
        ("processor_config.json", b"[1]", "no JSON object"),
        ("preprocessor_config.json", b'"a"}', "no JSON object"),
        ("tokenizer_config.json", b'{"a": ' + b" " * 999 + b"1", "cut off"),
        ("spiece.model", b"", "it is empty"),
        ("tokenizer.model", b"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert re.search(f"the model's {name} cannot .*{reason}", why_unreadable(tmp_path))


def test_files_that_can_be_read_pass(tmp_path):
    assert not why_unreadable(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b' {"a": ' + b" " * 999 + b"1}\n")
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x0e")
    assert not why_unreadable(tmp_path)
