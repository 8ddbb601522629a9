"""Forms and requests: what is left empty is left out, and a clone's form means the same request."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.forms import FormError, as_curl, as_python
from app.console.job_form import body_of, request_of, values_of
from app.console.schema_fields import PREFIX, fields_of, value_of
from app.recipes.methods import METHODS


def body(values):
    return body_of(lambda name: values.get(name, ""), values)


def test_empty_fields_are_left_out():
    values = {"model": "tiny", "method": "wanda", "sparsity": "0.5", "pattern": "", "more": ""}
    assert body(values) == {"model": "tiny", "method": "wanda", "sparsity": 0.5}


def test_every_field_has_its_place():
    values = {
        "model": "7",
        "method": "ecoflap",
        "sparsity": '{"language": 0.5}',
        "calibration_set": "scenes",
        "calibration_samples": "32",
        "evaluation_set": "scenes",
        "gate_metric": "accuracy",
        "gate_max_drop": "0.02",
        "labels": "team=vision, run=7",
        "priority": "3",
        "more": '{"evaluation": {"seed": 4}, "ignore": ["*head*"]}',
        f"{PREFIX}draws": "2",
        f"{PREFIX}per_modality": "true",
        f"{PREFIX}penalty": "3",  # of the method before
    }
    assert body(values) == {
        "model": "7",
        "method": "ecoflap",
        "sparsity": {"language": 0.5},
        "calibration": {"set": "scenes", "samples": 32},
        "evaluation": {"set": "scenes", "seed": 4},
        "quality_gate": {"metric": "accuracy", "max_drop": 0.02},
        "labels": {"team": "vision", "run": "7"},
        "priority": 3,
        "ignore": ["*head*"],
        "parameters": {"draws": 2, "per_modality": True},
    }


def test_a_method_that_zeroes_nothing_is_sent_no_sparsity():
    assert body({"model": "tiny", "method": "depth", "sparsity": "0.5"}) == {
        "model": "tiny",
        "method": "depth",
    }


def test_how_large_a_smaller_model_is_to_be_goes_with_any_method_and_comes_back():
    made = body({"model": "tiny", "method": "width", "target_parameters": "0.6"})
    assert made == {"model": "tiny", "method": "width", "target_parameters": 0.6}
    assert values_of(made)["target_parameters"] == "0.6"


@pytest.mark.parametrize("more", ["{", "[]", "3", '{"a": NaN}'])
def test_further_fields_are_an_object(more):
    with pytest.raises(FormError) as told:
        body({"model": "tiny", "more": more})
    assert told.value.wrong[0].field == "more"


def test_what_is_wrong_is_told_by_field():
    with pytest.raises(FormError) as told:
        request_of({"model": "", "method": "wanda", "calibration": {"samples": 0}, "x": 1})
    assert {each.field for each in told.value.wrong} == {"model", "calibration_samples", ""}


TASK = {"harness": "lm-eval", "task": "hellaswag"}


def test_tasks_are_named_with_commas_or_as_json():
    sent = {"model": "tiny", "method": "magnitude", "sparsity": "0.5"}
    made = body(sent | {"tasks": "lm-eval/hellaswag, lmms-eval/mme,"})
    assert made["evaluation"] == {"tasks": [TASK, {"harness": "lmms-eval", "task": "mme"}]}
    assert values_of(made)["tasks"] == "lm-eval/hellaswag, lmms-eval/mme"
    limited = body(sent | {"tasks": '[{"harness": "lm-eval", "task": "piqa", "limit": 9}]'})
    assert request_of(limited).evaluation.tasks[0].limit == 9


@pytest.mark.parametrize("text", ["hellaswag", "lm-eval/", "7", "[7]", '{"a": 1}'])
def test_what_is_no_task_is_told_at_its_field(text):
    sent = {"model": "tiny", "method": "magnitude", "sparsity": "0.5", "tasks": text}
    with pytest.raises(FormError) as told:
        request_of(body(sent))
    assert {each.field for each in told.value.wrong} == {"tasks"}


REQUESTS = st.fixed_dictionaries(
    {"model": st.sampled_from(["tiny", "hf:a/b", "7", "true"]), "method": st.just("ecoflap")},
    optional={
        "sparsity": st.sampled_from([0.5, {"vision": 0.25}]),
        "labels": st.just({"a": "b", "c": ""}),
        "parameters": st.just({"draws": 2, "local": "admm", "per_modality": True}),
        "calibration": st.sampled_from([{"samples": 4}, {"set": "scenes"}, {"batch_size": 2}]),
        "evaluation": st.sampled_from(
            [
                {"set": "scenes", "metrics": ["accuracy"]},
                {"tasks": [TASK, {"harness": "lmms-eval", "task": "mme"}]},
                {"set": "scenes", "tasks": [TASK | {"limit": 5}]},
                {"tasks": []},
            ]
        ),
        "ignore": st.just(["*head*"]),
        "recovery": st.just({"steps": 5}),
        "metadata": st.just({"note": 'a "b"'}),
    },
)  # fmt: skip


@given(REQUESTS)
def test_a_form_filled_from_a_request_means_the_same(request):
    assert body(values_of(request)) == request


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_parameter_has_a_field_whose_default_is_the_methods(name):
    schema = METHODS[name].model_json_schema()
    fields = {field.name: field for field in fields_of(schema)}
    assert fields.keys() == METHODS[name].model_fields.keys()
    for key, field in fields.items():
        default = schema["properties"][key].get("default")
        assert value_of(field.default) == ("" if default is None else default)
        assert field.hint
        assert field.kind != "choice" or field.choices


def test_the_same_by_other_means():
    sent = {"model": "it's", "metadata": {"a": "$(rm)`x`"}, "x": None}
    words = shlex.split(as_curl("http://h", sent).replace("\\\n", " "))
    assert words[-1] == '{"model": "it\'s", "metadata": {"a": "$(rm)`x`"}, "x": null}'
    compile(as_python("http://h", sent), "page", "exec")


@pytest.mark.parametrize(
    ("typed", "field", "told"),
    [
        ({"sparsity": '{"vision": 0.4'}, "sparsity", "sparsity: begins as JSON"),
        ({"tasks": "[nothing"}, "tasks", "evaluation.tasks: begins as JSON"),
        ({f"{PREFIX}draws": "[1", "method": "ecoflap"}, "", "parameters.draws: begins as JSON"),
        ({"labels": "team=vision, run"}, "labels", "'run' has no ="),
    ],
)
def test_what_cannot_be_read_is_told_of_its_field(typed, field, told):
    with pytest.raises(FormError, match=told) as error:
        body({"model": "tiny", **typed})
    assert [each.field for each in error.value.wrong] == [field]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"sparsity": 1.5}, {"sparsity"}),
        ({"sparsity": {"vision": 1.5}}, {"sparsity.vision"}),
        ({"quality_gate": {"max_drop": 0.1}}, {"quality_gate.metric"}),
        (
            {"evaluation": {"tasks": [{"harness": "x", "task": "y"}]}},
            {"evaluation.tasks.0.harness"},
        ),
    ],
)
def test_mistakes_have_the_names_that_the_request_has(asked, names):
    with pytest.raises(FormError) as told:
        request_of({"model": "tiny", "method": "wanda", **asked})
    assert {each.name for each in told.value.wrong} == names
