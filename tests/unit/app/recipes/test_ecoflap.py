"""ECoFLaP's local importance: any, by name or with its settings."""

import pytest

from app.errors import MethodParameterError
from app.recipes.methods import IMPORTANCES
from app.recipes.methods.admm import Admm
from app.recipes.methods.ecoflap import ECoFLaPMethod
from app.recipes.recipe import build_recipe


def recipe_of(local):
    return build_recipe("ecoflap", {"local": local}, "unstructured", sparsity=0.5)


@pytest.mark.parametrize("kind", IMPORTANCES)
def test_every_importance_goes_with_it(kind):
    assert recipe_of({"kind": kind}).importance == IMPORTANCES[kind]()
    named = "multiflow" if kind == "flow" else kind
    assert recipe_of(named) == recipe_of({"kind": kind})
    assert recipe_of(named).pattern.group == ("row" if kind == "wanda" else "matrix")


def test_settings_are_taken():
    assert recipe_of({"kind": "admm", "objective": "mixed"}).importance == Admm(objective="mixed")


@pytest.mark.parametrize(
    ("local", "named"),
    [
        ("wands", "'wanda'"),
        (7, "must be an object"),
        ({"kind": "wands"}, "'wanda'"),
        ({"kind": "wanda", "damping": 1}, "damping"),
        ({}, "kind"),
    ],
)
def test_what_is_none_is_refused_in_words(local, named):
    with pytest.raises(MethodParameterError, match=named):
        recipe_of(local)


def test_it_survives_storage():
    method = ECoFLaPMethod(local={"kind": "sparsegpt", "damping": 0.05})
    assert ECoFLaPMethod.model_validate_json(method.model_dump_json()) == method
