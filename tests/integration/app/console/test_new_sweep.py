"""A sweep from a form: what it comes to beside it, mistakes that come back, who may."""

import html

import pytest

from app.domain.projects import Scope
from tests.integration.app.console.test_jobs import EVIL
from tests.integration.app.headers import SHAPES, write_header

NEW = "/console/new-sweep"
FORM = {"model": "tiny", "methods": ["magnitude", "random"], "sparsities": "0.5, 0.6"}


@pytest.fixture(autouse=True)
def checkpoint(model_root):
    write_header(model_root / "tiny" / "model.safetensors", SHAPES)


def test_the_form_offers_what_there_is(person):
    assert f'href="{NEW}"' in person.get("/console/sweeps").text
    page = person.get(NEW).text
    assert "<option>tiny</option>" in page
    assert '<input type="checkbox" name="methods" value="recommended" checked>' in page


def test_what_it_comes_to_is_beside_it(person):
    page = html.unescape(person.send(f"{NEW}/check", FORM, 200).text)
    assert "<b>4</b> jobs" in page
    assert page.count('<th scope="row">') == 2
    assert "the recipe reaches" in page  # a warning of the plans, once
    assert page.count("the recipe reaches") == 1
    assert "http://testserver/v1/sweeps" in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": ""}, "Name a model"),
        ({"model": EVIL}, "there is no model"),
        ({"methods": []}, "methods"),
        ({"sparsities": "60"}, "write 0.6 for 60 %"),
        ({"sparsities": ""}, "sparsities are needed"),
        ({"more": "{"}, "not JSON"),
        ({"objective_metric": "accuracy"}, "needs an evaluation"),
    ],
)
def test_it_says_what_is_wrong(person, changes, told):
    page = person.send(f"{NEW}/check", FORM | changes, 200).text
    assert told in html.unescape(page)
    assert "<script>" not in page


def test_a_submit(person, client):
    answer = person.send(NEW, FORM | {"labels": "team=a"})
    sweep = client.get(answer.headers["location"].replace("/console/", "/v1/")).json()
    assert sum(sweep["jobs"].values()) == 4
    assert sweep["labels"] == {"team": "a"}
    assert "magnitude" in person.get(answer.headers["location"]).text


@pytest.mark.parametrize("changes", [{"sparsities": "1.5"}, {"model": "none"}])
def test_mistakes_come_back_with_all_that_was_typed(person, client, changes):
    page = person.send(NEW, FORM | {"labels": "team=a"} | changes, 422).text
    assert "The sweep was not submitted" in page
    assert 'value="team=a"' in page
    assert 'value="random" checked' in page
    assert 'value="recommended" checked' not in page
    [typed] = changes.values()
    assert f'value="{typed}"' in page
    assert client.get("/v1/sweeps").json()["sweeps"] == []


def test_who_only_reads_has_no_form(stranger, key_of, client):
    reader = stranger.sign_in(key_of(Scope.READ))
    assert NEW not in reader.get("/console/sweeps").text
    reader.get(NEW, 403)
    for path in ("", "/check"):
        reader.send(f"{NEW}{path}", FORM, 403)
    assert client.get("/v1/sweeps").json()["sweeps"] == []
