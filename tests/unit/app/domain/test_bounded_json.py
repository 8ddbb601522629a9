"""JSON of others: parsed within its bounds, or refused in words."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bounded_json import JsonError, JsonLimits, parse_json, parse_object

LIMITS = JsonLimits(bytes=2000, values=100, depth=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"[1] 2", "not JSON"),
        (b'"' + b"x" * 2000 + b'"', "longer than 2000 bytes"),
        (b"[" + b"1," * 100 + b"1]", "more than 100 values"),
        (b'"' + b"{" * 101 + b'"', "more than 100 values"),
        (b"[" * 6 + b"]" * 6, "nested more than 5 deep"),
        (b'{"a":' * 7 + b"1" + b"}" * 7, "nested more than 5 deep"),
        (b"1" * 21, "a number of 21 digits"),
        (b'{"a": -1' + b"0" * 1900 + b"}", "a number of 1902 digits"),
        (b'"\xff"', "not UTF-8"),
        (b"\xff\xfe[\0]\0", "not UTF-8"),
        (b"NaN", "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1, "b": 2, "b": 3}', "'b' twice"),
    ],
)
def test_what_exceeds_a_bound_is_refused(content, says):
    with pytest.raises(JsonError, match=says) as error:
        parse_json(content, LIMITS)
    assert "sys." not in str(error.value), "no word of the interpreter"


def test_nesting_beyond_the_interpreter_is_refused_alike():
    deep = JsonLimits(bytes=1 << 20, values=1 << 20, depth=5)
    for content in (b"[" * 200_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900):
        with pytest.raises(JsonError):
            parse_json(content, deep)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"a"'])
def test_an_object_is_asked_for_by_name(content):
    with pytest.raises(JsonError, match="not a JSON object"):
        parse_object(content, LIMITS)


def test_a_mark_at_the_beginning_and_twins_where_they_are_allowed():
    assert parse_json(b"\xef\xbb\xbf[1]", LIMITS) == [1]
    lenient = JsonLimits(bytes=100, unique=False)
    assert parse_json(b'{"a": 1, "a": 2}', lenient) == {"a": 2}


@given(values)
def test_what_python_writes_is_read_back(value):
    limits = JsonLimits(bytes=1 << 20, depth=100)
    assert parse_json(json.dumps(value).encode(), limits) == value


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789.eE+-NaInfity\\u', max_size=80))
@settings(max_examples=150)
def test_nothing_but_a_value_or_our_error(content):
    given_ = content.encode() if isinstance(content, str) else content
    with suppress(JsonError):
        json.dumps(parse_json(given_, LIMITS))


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (b'"' + b"x" * 1998 + b'"', b'"' + b"x" * 1999 + b'"'),
        (b"[" + b"1," * 99 + b"1]", b"[" + b"1," * 100 + b"1]"),
        (b'"' + b"[" * 100 + b'"', b'"' + b"[" * 101 + b'"'),
        (b'"' + b"{" * 100 + b'"', b'"' + b"{" * 101 + b'"'),
        (b"[" * 5 + b"]" * 5, b"[" * 6 + b"]" * 6),
        (b'[[[[{"a": 1}]]]]', b'[[[[{"a": []}]]]]'),
        (b'[1, {"a": [[[]]]}]', b'[1, {"a": [[[[]]]]}]'),
        (b"1" * 20, b"1" * 21),
        (b"[-" + b"1" * 19 + b"]", b"[-" + b"1" * 20 + b"]"),
    ],
)
def test_a_bound_itself_is_accepted(within, beyond):
    assert parse_json(within, LIMITS) == json.loads(within)
    with pytest.raises(JsonError):
        parse_json(beyond, LIMITS)


def test_bounds_that_are_not_given():
    assert JsonLimits(bytes=1) == JsonLimits(bytes=1, values=200_000, depth=32, unique=True)


def test_what_is_told_of_foreign_names_and_places_is_short_and_counts_from_one():
    name = b'"' + b"n" * 150 + b'"'
    with pytest.raises(JsonError) as error:
        parse_json(b'{"a": 0, ' + name + b": 1, " + name + b": 2}", LIMITS)
    assert str(error.value) == f"an object has {'n' * 100!r} twice"
    with pytest.raises(JsonError, match=r"not JSON \(expecting value: line 2, column 3\)"):
        parse_json(b"[\n1,]", LIMITS)
    with pytest.raises(JsonError, match=r"not UTF-8 \(byte 3\)"):
        parse_json(b'"ab\xff"', LIMITS)


def test_nesting_that_the_interpreter_cannot_follow_is_told_alike(monkeypatch):
    def too_deep(*_, **__):
        raise RecursionError

    monkeypatch.setattr(json, "loads", too_deep)
    with pytest.raises(JsonError, match="nested more than 5 deep"):
        parse_json(b"[]", LIMITS)
