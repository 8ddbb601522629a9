"""No message speaks of Python, of pydantic, or twice of what is not."""

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.api.document.openapi import error_classes
from app.api.http.documented import CODES
from app.domain.submission import JobRequest
from app.domain.sweeps import SweepRequest
from app.domain.webhooks import WebhookEvent
from app.errors import MethodParameterError, RecipeError, SecateurError
from app.messages import in_words, place_of, words_of
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe

FOREIGN = re.compile(
    r"Input should|Field required|Extra inputs|Value error|should have at (least|most)|"
    r"Unable to|pydantic|valid (integer|string|dictionary|boolean|number)|validation error|"
    r"\b0x[0-9a-f]{6,}|<[\w.]+ object|object at|set_int_max_str_digits|Exceeds the limit|"
    r"recursion|Traceback|\bNoneType\b|<class|\bdict\b|\bstr\b|_io\.|Error\(|\bapp\.|\bworkers\."
)
NEGATION = r"\b(not|no|cannot|never|neither|nothing|none)\b"
TWICE = re.compile(rf"{NEGATION}[^.;,:()]*{NEGATION}", re.IGNORECASE)


def kinds():
    return [kind for kind in error_classes() if kind is not SecateurError]


DOCUMENTED = {code: text for code, (_, text) in CODES.items()}


@pytest.mark.parametrize(
    "text", [*DOCUMENTED.values(), *sorted({str(kind.__doc__) for kind in kinds()})]
)
def test_what_a_code_means_is_said_once_and_plainly(text):
    assert not FOREIGN.search(text)
    assert not TWICE.search(text), text


def raised():
    """Every message written where an error of ours is raised; what is put in is an x."""
    names = {kind.__name__ for kind in kinds()} | {"PydanticCustomError"}
    for file in sorted(path for root in ("app", "workers") for path in Path(root).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names:
                texts = [_text(each) for each in node.args if isinstance(each, _TEXTS)]
                yield from ((file.name, text) for text in texts)


_TEXTS = ast.JoinedStr | ast.Constant | ast.BinOp


def _text(node):
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "x"


def test_no_message_that_is_raised_denies_twice_or_speaks_of_python():
    found = [(name, text) for name, text in raised() if FOREIGN.search(text) or TWICE.search(text)]
    assert len(list(raised())) > 150
    assert not found


def all_in_words(build):
    """The words of everything that is wrong with a request; none where it is right."""
    try:
        build()
    except ValidationError as error:
        return [in_words(issue) for issue in error.errors()]
    except (MethodParameterError, RecipeError) as error:
        return [str(error)]
    return []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("50%"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)
FIELDS = sorted({*JobRequest.model_fields, *SweepRequest.model_fields, "colour"})
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)


@settings(max_examples=150, deadline=None)
@given(body=BODIES, whole=VALUES)
def test_whatever_is_wrong_with_a_request_is_told_in_our_own_words(body, whole):
    right = {"model": "m", "method": "wanda", "sparsity": 0.5}
    for model in (JobRequest, SweepRequest):
        for given_ in (body, right | body, whole):
            for words in all_in_words(lambda m=model, b=given_: m.model_validate(b)):
                assert not FOREIGN.search(words), words


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_is_wrong_with_a_parameter_is_told_in_our_own_words(data):
    name = data.draw(st.sampled_from(sorted(WEIGHT_METHODS)))
    fields = sorted({*WEIGHT_METHODS[name].model_fields, "colour"})
    given_ = data.draw(st.dictionaries(st.sampled_from(fields), VALUES, max_size=3))
    for words in all_in_words(lambda: build_recipe(name, given_, "unstructured", sparsity=0.5)):
        assert not FOREIGN.search(words), words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sparsity": 50}, "write 0.5 for 50 %"),
        ({"sparsity": {"language": 70}}, "write 0.7 for 70 %"),
        ({"sparsity": "50%"}, "must be a number; write 0.5 for 50 %"),
        ({"sparsity": 1}, "below 1"),
        ({"sparsity": -3}, "at least 0"),
        ({"calibration": {"samples": 0}}, "must be at least 1"),
        ({"calibration": {"samples": 10**9}}, "must be at most 4096"),
        ({"calibration": []}, "must be an object"),
        ({"colour": "red"}, "is no field that is known here"),
        ({"model": ""}, "must have 1 characters at least"),
        ({"model": 3}, "must be a text"),
        ({"targets": []}, "must have 1 entries at least"),
        ({"evaluation": {}}, "needs a set, or tasks"),
        ({"include_bridge": "maybe"}, "must be true or false"),
        ({"pattern": "2-4"}, "must have the form"),
        ({"quality_gate": {"metric": "luck", "max_drop": 1}}, "must be 'perplexity', 'accuracy'"),
    ],
)
def test_common_mistakes(body, words):
    right = {"model": "m", "method": "wanda", "sparsity": 0.5}
    found = all_in_words(lambda: JobRequest.model_validate(right | body))
    assert any(words in each for each in found), found


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"quality_gate": {"max_drop": 0.1}}, ["quality_gate", "metric"]),
        ({"sparsity": {"vision": 2}}, ["sparsity", "vision"]),
        ({"sparsity": 2}, ["sparsity"]),
        ({"model": None}, ["model"]),
        ({"method": "recipe"}, ["method"]),
        ({"recipe": {"structure": [{"kind": "depth", "removed": 2}]}},
         ["recipe", "structure", 0, "removed"]),
        ([], []),
    ],
)  # fmt: skip
def test_a_mistake_has_the_place_that_the_body_has(body, place):
    right = {"model": "m", "method": "wanda", "sparsity": 0.5}
    sent = right | body if isinstance(body, dict) else body
    with pytest.raises(ValidationError) as refused:
        JobRequest.model_validate(sent)
    assert place in [place_of(issue, sent) for issue in refused.value.errors()]


def test_a_method_that_is_missing_may_be_a_recipe():
    [told] = all_in_words(lambda: JobRequest.model_validate({"model": "m", "sparsity": 0.5}))
    assert told == "is missing; name a method, or give a recipe"


def test_a_sentence_of_our_own_comes_as_it_is():
    found = all_in_words(lambda: JobRequest.model_validate({"model": "m", "method": "wanda"}))
    assert found == ["sparsity is needed without an N:M pattern"]
    assert "'job.queued'" in all_in_words(lambda: TypeAdapter(WebhookEvent).validate_python("x"))[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("cannot identify image file <_io.BytesIO object at 0x7f12ab34cd56>"), "file it"),
        (ValueError("no such file /srv/models/tiny/tokenizer.json"), "file tokenizer.json"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (KeyError("input_ids"), "input_ids"),
        (ValueError(""), "ValueError"),
    ],
)
def test_foreign_words_lose_what_is_not_for_clients(error, told):
    assert told in words_of(error)
    assert not FOREIGN.search(words_of(error)) or told == "ValueError"


def test_foreign_words_are_short_and_in_one_line():
    with pytest.raises(ValueError, match="Exceeds") as caught:
        json.loads("9" * 5000)
    assert "a number is too long" in words_of(caught.value)
    assert len(words_of(ValueError("word\n" * 500))) < 320
