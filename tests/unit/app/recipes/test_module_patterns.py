"""Patterns of module names: fnmatch and RE2, bounded, and names that stand for themselves."""

import re
from fnmatch import fnmatchcase

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from app.recipes.module_patterns import (
    MAX_LENGTH,
    ModulePatterns,
    Patterns,
    has_experts,
    matcher,
    names_steering,
    steering,
)

names = st.text("ab.[q]", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("*", "a.b", True),
        ("*.q_proj", "layers.0.q_proj", True),
        ("*.q_proj", "layers.0.q_proj_2", False),
        ("layers.?", "layers.10", False),
        ("layers.[0-3].*", "layers.2.fc", True),
        ("layers.[!0-3].*", "layers.2.fc", False),
        ("x.qkv[q]", "x.qkv[q]", True),
        ("*.qkv[q]", "x.qkv[q]", True),
        ("*.qkv[k]", "x.qkv[q]", False),
        ("*[q]", "x.qkv[q]", True),
        ("*.qkv[[]q]", "x.qkv[q]", True),
        ("re:.*lm_head", "model.lm_head", True),
        ("re:lm_head", "model.lm_head", False),
        (r"re:.*\.layers\.(1|3)\.", "model.layers.3.fc", True),
        (r"re:.*\.layers\.\d$", "model.layers.30", False),
    ],
)
def test_what_matches(pattern, name, found):
    assert matcher(pattern)(name) is found
    assert Patterns([pattern]).match(name) is found
    assert Patterns([pattern]).unmatched([name]) == ([] if found else [pattern])


@given(names, st.text("ab.*?[!q]-", max_size=10))
def test_it_is_fnmatch_and_more(name, pattern):
    if fnmatchcase(name, pattern):
        assert matcher(pattern)(name)


@given(names)
def test_a_name_is_its_own_pattern(name):
    assert matcher(name)(name)


@pytest.mark.parametrize("pattern", ["*a" * 128, "*[ab]" * 51, "?*" * 128, "re:" + "(a*)*" * 50])
def test_nothing_blows_up(pattern):
    """It would not end: two to the power of the name's length."""
    assert not matcher(pattern)("a" * 2000 + "\n!") or pattern.endswith("*") or "re:" in pattern


@pytest.mark.parametrize(
    "pattern", [r"re:(a)\1", "re:(", "re:a{1,5000}", "re:(?=a)", "re:" + "((a{99}){99}){9}"]
)
def test_what_takes_more_than_linear_time_is_refused(pattern):
    with pytest.raises(PydanticCustomError, match=re.escape(pattern)):
        matcher(pattern)


@given(st.text(max_size=MAX_LENGTH + 3))
def test_any_text_is_a_pattern_or_refused(text):
    kind = TypeAdapter(ModulePatterns)
    for pattern in (text, f"re:{text}"):
        try:
            (accepted,) = kind.validate_python((pattern,))
        except ValidationError:
            continue
        matcher(accepted)("model.layers.0")


def test_one_of_several_patterns_matches_one_of_several_names():
    assert Patterns(["a*", "b"]).match("x", "b")
    assert not Patterns(["a*", "b"]).match("x", "y")
    assert not Patterns([]).match("x")


def test_patterns_that_match_nothing_are_told():
    assert Patterns(["a*", "b*", "c"]).unmatched(["ab", "ac"]) == ["b*", "c"]


def accepted(patterns):
    try:
        TypeAdapter(ModulePatterns).validate_python(patterns)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("patterns", "fits"),
    [
        ((), True),
        (("a",) * 100, True),
        (("a",) * 101, False),
        (("a" * 256,), True),
        (("a" * 257,), False),
        (("",), False),
        (("a", "re:("), False),
    ],
)
def test_number_and_length_are_bounded(patterns, fits):
    assert accepted(patterns) is fits


def test_memory_of_an_expression_is_bounded():
    """A mebibyte holds about 55 times the letters of all scripts."""
    assert matcher(r"re:\pL+")("\u00e4" * 45)
    with pytest.raises(PydanticCustomError, match="pattern too large"):
        matcher("re:" + r"\pL" * 70)


def test_an_expression_that_is_refused_is_told_to_its_sender_alone(capfd):
    words = r"^re:\( is no regular expression that is understood: missing \): \($"
    with pytest.raises(PydanticCustomError, match=words):
        matcher("re:(")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("expression", ["(.?){50}" * 20, "(a?){50}" * 20, "(.{0,30}x){20}"])
def test_an_expression_of_many_repetitions_is_refused(expression):
    words = rf"^re:{re.escape(expression)} repeats too much: it has \d+ steps; 1500 are accepted$"
    with pytest.raises(PydanticCustomError, match=words):
        matcher(f"re:{expression}")


def test_so_many_steps_are_accepted():
    repeated = "a{200}" * 7
    fits = repeated + "b" * (1500 - re2.compile(repeated).programsize)
    assert not matcher(f"re:{fits}")("a")
    with pytest.raises(PydanticCustomError, match="has 1501 steps; 1500 are accepted"):
        matcher(f"re:{fits}b")


def test_as_many_characters_as_a_pattern_may_have_are_no_repetitions():
    assert matcher("re:" + "a" * (MAX_LENGTH - 3))("a" * MAX_LENGTH)


@pytest.mark.parametrize(
    ("name", "experts", "part"),
    [
        ("layers.0.mlp.router.weight", False, "router"),
        ("layers.0.feed_forward.router", True, "router"),
        ("layers.0.mlp.shared_expert_gate", False, "shared_expert_gate"),
        ("layers.0.self_attn.indexer.wq", False, "indexer"),
        ("layers.0.mlp.gate.weight", True, "gate"),
        ("layers.0.mlp.gate.weight", False, None),
        ("layers.0.mlp.gate_proj", True, None),
        ("layers.0.mlp.gate.router", False, "router"),
        ("layers.0.q_proj", True, None),
    ],
)
def test_what_steers_a_model_is_told_by_its_name(name, experts, part):
    assert steering(name, experts=experts) == part


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (("*.gate",), True),
        (("*", "layers.0.mlp.gate.weight"), True),
        (("*.gate_proj",), False),
        (("*.mygate",), False),
        (("*",), False),
    ],
)
def test_a_target_is_about_a_part_where_it_has_its_name(targets, named):
    assert names_steering(targets, "gate") == named


def test_experts_are_told_by_names():
    assert has_experts(["a", "layers.0.experts.1.w1"])
    assert has_experts(["layers.0.block_sparse_moe.gate"])
    assert not has_experts(["layers.0.mlp.gate"])
