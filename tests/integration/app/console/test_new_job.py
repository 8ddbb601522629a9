"""A job from a form: the plan beside it, mistakes that come back, clones, who may."""

import html

import pytest

from app.domain.projects import Scope
from tests.integration.app.console.test_jobs import EVIL, JOB, JOBS
from tests.integration.app.headers import SHAPES, write_header

NEW = "/console/new"
FORM = {"model": "tiny", "method": "magnitude", "sparsity": "0.6"}


@pytest.fixture(autouse=True)
def checkpoint(model_root):
    write_header(model_root / "tiny" / "model.safetensors", SHAPES)


def test_the_form_offers_what_there_is(person):
    page = person.get(NEW).text
    assert "<option>tiny</option>" in page
    assert '<option value="recommended" selected>' in page
    assert "scene-captions" in page
    part = person.send(f"{NEW}/fields", {"method": "ecoflap"}, 200).text
    assert 'name="parameter.granularity"' in part
    assert "<html" not in part
    assert 'name="sparsity"' not in person.send(f"{NEW}/fields", {"method": "depth"}, 200).text


def test_the_plan_beside_it(person):
    page = html.unescape(person.send(f"{NEW}/plan", FORM, 200).text)
    assert "of all weights" in page
    assert "of memory" in page
    assert "the recipe reaches" in page
    assert """-d '{"model": "tiny", "method": "magnitude", "sparsity": 0.6}'""" in page
    assert "http://testserver/v1/jobs" in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": ""}, "Name a model"),
        ({"model": "none"}, "there is no model 'none'"),
        ({"model": EVIL}, "there is no model"),
        ({"sparsity": "60"}, "write 0.6 for 60 %"),
        ({"more": "{"}, "not JSON"),
        ({"more": '{"patern": "2:4"}'}, "no field that is known"),
    ],
)
def test_the_plan_says_what_is_wrong(person, changes, told):
    page = person.send(f"{NEW}/plan", FORM | changes, 200).text
    assert told in html.unescape(page)
    assert "<script>" not in page


def test_a_submit(person, client):
    answer = person.send(NEW, FORM | {"labels": "team=a", "parameter.scope": "global"})
    job_id = answer.headers["location"].removeprefix(f"{JOBS}/")
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["model"], job["method"], job["labels"]) == ("tiny", "magnitude", {"team": "a"})
    assert job["recipe"]["allocation"]["kind"] != "uniform"  # as the parameter says


@pytest.mark.parametrize(
    ("changes", "status"), [({"sparsity": "1.5"}, 422), ({"model": "none"}, 422)]
)
def test_mistakes_come_back_with_all_that_was_typed(person, client, changes, status):
    page = person.send(NEW, FORM | {"labels": "team=a"} | changes, status).text
    assert "The job was not submitted" in page
    assert 'value="team=a"' in page
    [typed] = changes.values()
    assert f'value="{typed}"' in page
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_clone_is_the_request_with_what_was_changed(person, client):
    asked = JOB | {"metadata": {"note": EVIL}, "calibration": {"samples": 3}}
    source = client.post("/v1/jobs", json=asked).json()["id"]
    page = person.get(f"{NEW}?source={source}").text
    assert 'name="calibration_samples" inputmode="numeric" value="3"' in page
    assert "<script>alert" not in page
    assert f'name="source" value="{source}"' in page
    answer = person.send(NEW, FORM | {"source": source, "sparsity": "0.7"})
    job = client.get(answer.headers["location"].replace(JOBS, "/v1/jobs")).json()
    assert (job["source_id"], job["recipe"]["sparsity"]) == (source, 0.7)
    person.get(f"{NEW}?source=job_none", 404)
    assert "no job" in person.send(NEW, FORM | {"source": "job_none"}, 404).text


def test_who_only_reads_has_no_form(stranger, key_of):
    reader = stranger.sign_in(key_of(Scope.READ))
    reader.get(NEW, 403)
    for path in ("", "/plan", "/fields"):
        reader.send(f"{NEW}{path}", FORM, 403)
