"""What options and files write, and where it goes."""

import pytest

from app.cli.requests.values import parse, parse_word, with_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("1e-4", 1e-4),
        ("2:4", "2:4"),
        ("auto", "auto"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("2026-11-27", "2026-11-27"),
        ("hf:acme/captioner@v1", "hf:acme/captioner@v1"),
        ("{text: .5, vision: 0.3}", {"text": 0.5, "vision": 0.3}),
        ("[accuracy, agreement]", ["accuracy", "agreement"]),
        ('{\n\t"sparsity": 0.5}', {"sparsity": 0.5}),
        ("{1: a}", {"1": "a"}),
    ],
)
def test_a_value_is_yaml(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("*.head", "line 1, column 1"),
        ("a: 1\nb: [", "line 2"),
        ("{a: 1, a: 2}", "duplicate"),
        (".nan", "JSON"),
        ("[" * 5000, "too deeply"),
        ("- " * 5000, "too deeply"),
        ("!!binary aGk=", "bytes"),
        ("a: 1\n---\nb: 2", "line 2"),
    ],
)
def test_what_no_request_can_hold_is_told_with_its_place(text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


@pytest.mark.parametrize("text", ["*.head", "re:layers\\.[0-3]", "@x", "NaN"])
def test_a_word_that_is_no_yaml_is_a_text(text):
    assert parse_word(text) == text


def test_a_path_leads_into_objects_and_lists():
    request = {"publish": [{"destination": "hub"}], "sparsity": None}
    made = with_value(request, ["publish", "0", "target"], "acme/a")
    made = with_value(made, ["publish", "1", "destination"], "bucket")
    made = with_value(made, ["structure", "0", "kind"], "depth")
    made = with_value(made, ["sparsity", "text"], 0.6)
    assert made == {
        "publish": [{"destination": "hub", "target": "acme/a"}, {"destination": "bucket"}],
        "structure": [{"kind": "depth"}],
        "sparsity": {"text": 0.6},
    }
    assert request == {"publish": [{"destination": "hub"}], "sparsity": None}, "left as it was"


def test_a_value_is_not_lost_to_a_part_of_it():
    with pytest.raises(ValueError, match=r"it is 0\.5, which has no part 'text'"):
        with_value({"sparsity": 0.5}, ["sparsity", "text"], 0.6)


@pytest.mark.parametrize("place", ["2", "first", "-1"])
def test_a_list_has_no_place_beyond_its_end(place):
    with pytest.raises(ValueError, match="list of 1"):
        with_value({"publish": [{}]}, ["publish", place, "target"], "x")
