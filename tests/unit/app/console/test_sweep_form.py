"""What the form of a sweep means, and where its mistakes are told."""

import pytest

from app.console.forms import FormError
from app.console.sweep_form import body_of, request_of


def body(*methods, **values):
    return body_of(lambda name: values.get(name, ""), methods)


def test_every_field_has_its_place():
    made = body(
        "wanda",
        "magnitude",
        model="tiny",
        sparsities="0.5, 0.6,",
        patterns="unstructured, 2:4",
        calibration_set="scenes",
        evaluation_set="scenes",
        evaluation_samples="32",
        objective_metric="accuracy",
        objective_max_drop="0.02",
        measure="true",
        labels="team=a",
        more='{"methods": [{"method": "ecoflap", "parameters": {"draws": 2}}], "device": "cpu"}',
    )
    assert made == {
        "model": "tiny",
        "methods": [
            {"method": "wanda"},
            {"method": "magnitude"},
            {"method": "ecoflap", "parameters": {"draws": 2}},
        ],
        "sparsities": [0.5, 0.6],
        "recipes": [{"pattern": "unstructured"}, {"pattern": "2:4"}],
        "calibration": {"set": "scenes"},
        "evaluation": {"set": "scenes", "samples": 32},
        "objective": {"metric": "accuracy", "max_drop": 0.02},
        "measure": True,
        "labels": {"team": "a"},
        "device": "cpu",
    }
    assert len(request_of(made).members()) == 9


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sparsities": "0.5, x"}, "sparsities"),
        ({"sparsities": "60"}, "sparsities"),
        ({"sparsities": "0.5", "patterns": "x" * 100}, "patterns"),
        ({"sparsities": "0.5", "evaluation_samples": "0"}, "evaluation_samples"),
        ({"sparsities": ""}, ""),
    ],
)
def test_mistakes_are_told_by_field(values, field):
    with pytest.raises(FormError) as told:
        request_of(body("magnitude", model="tiny", **values))
    assert field in {each.field for each in told.value.wrong}


def test_without_a_method_the_boxes_are_what_is_wrong():
    with pytest.raises(FormError) as told:
        request_of(body(model="tiny", sparsities="0.5"))
    assert [each.field for each in told.value.wrong] == ["methods"]


def test_methods_that_are_no_list_are_told():
    with pytest.raises(FormError):
        body("magnitude", model="tiny", more="[]")
    assert body("magnitude", more='{"methods": 3}')["methods"] == [{"method": "magnitude"}]
