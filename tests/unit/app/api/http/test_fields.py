"""What is added to an error of a field: names that are near, and what a form means."""

import pytest

from app.api.http.fields import advice, fields_at
from app.domain.submission import JobRequest


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((), "sparsity"),
        (("calibration",), "samples"),
        (("publish", 0), "target"),
        (("recipe", "weights", "importance", "wanda"), "sequential"),
    ],
)
def test_a_place_of_a_request_has_its_fields(place, name):
    assert name in fields_at(JobRequest, place)


def test_fields_of_another_place_are_not_suggested():
    assert advice(JobRequest, ("sparsty",), "extra_forbidden") == " Did you mean sparsity?"
    assert advice(JobRequest, ("calibration", "sparsty"), "extra_forbidden") == ""


def test_a_form_is_told_in_the_words_of_its_field():
    told = advice(JobRequest, ("device",), "string_pattern_mismatch")
    assert told.startswith(": cpu, cuda or cuda:N")


@pytest.mark.parametrize("model", [None, dict, JobRequest])
def test_nothing_is_added_where_nothing_is_known(model):
    assert advice(model, ("unheard",), "string_pattern_mismatch") == ""
    assert advice(model, (), "extra_forbidden") == ""
