"""Numbers that a configuration or a header tells, and their bounds."""

import pytest

from app.errors import ModelLoadError
from app.planning.model_files.files import (
    MOST_TENSORS,
    architecture,
    check_number,
    number,
    section,
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


@pytest.mark.parametrize("given", [None, [], {}, [3], [None], "LlamaForCausalLM"])
def test_a_class_that_is_none(given):
    assert architecture({"architectures": given}) == ""


def test_the_first_class_is_the_model_s():
    assert architecture({"architectures": ["A", "B"]}) == "A"


def test_as_many_matrices_as_any_model_has():
    check_number(MOST_TENSORS)
    with pytest.raises(ModelLoadError, match=f"more than {MOST_TENSORS} matrices"):
        check_number(MOST_TENSORS + 1)
