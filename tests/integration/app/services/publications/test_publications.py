"""Publications: what arrives, what is tried again, what is told, and what never is."""

import hashlib
import logging

import obstore
import pytest
from huggingface_hub import constants
from obstore.store import S3Store

from tests.integration.app.problem import assert_problem
from tests.integration.app.services.publications.conftest import FILES
from tests.integration.app.services.publications.hub_server import TOKEN
from tests.seaweedfs import ACCESS, SECRET

# The hub's client hands its files to httpx2 in a way of old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def _by_lfs(monkeypatch):
    # The other way of the hub's client needs a server of its own kind.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("PUSH_HUB", TOKEN)


@pytest.fixture
def destinations(hub, s3_destination):
    told = {"kind": "huggingface", "endpoint": hub.url, "secret": "PUSH_HUB"}
    theirs = told | {"projects": ["prj_other"]}
    return {"hub": told, "bucket": s3_destination, "theirs": theirs}


def told(client, job_id):
    (found,) = client.get(f"/v1/jobs/{job_id}/publications").json()["publications"]
    return found


def messages(client, job_id):
    events = client.get(f"/v1/jobs/{job_id}/events").json()["events"]
    return [event["message"] for event in events if event["type"] == "publication"]


def test_a_hub_gets_all_files_in_one_commit(client, hub, finished, attempt):
    job_id = finished(("hub", "acme/captioner"))
    assert attempt()
    assert not attempt(), "nothing is left to do"
    assert hub.repos == {"acme/captioner": True}
    assert hub.commits == [("acme/captioner", FILES)]
    found = told(client, job_id)
    assert (found["state"], found["attempts"], found["next_at"]) == ("published", 1, None)
    assert found["url"].startswith(f"{hub.url}/acme/captioner/commit/")
    assert messages(client, job_id) == [f"published to hub: {found['url']}"]


def test_a_bucket_gets_a_copy(client, weed, finished, attempt):
    job_id = finished(("bucket", "captioner"))
    assert attempt()
    assert told(client, job_id)["url"] == f"s3://published/models/captioner/{job_id}"
    bucket = S3Store(
        "published",
        endpoint=weed.url,
        access_key_id=ACCESS,
        secret_access_key=SECRET,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    for path, content in FILES.items():
        got = bytes(obstore.get(bucket, f"models/captioner/{job_id}/{path}").bytes())
        assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()


def again(client, job_id):
    """Have the next attempt made at once."""
    publication_id = told(client, job_id)["id"]
    answer = client.post(f"/v1/jobs/{job_id}/publications/{publication_id}/retry")
    assert answer.status_code == 202


def test_a_fault_is_tried_again_and_logged(client, hub, finished, attempt):
    job_id = finished(("hub", "acme/captioner"))
    hub.refuse = 1
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], hub.commits) == ("pending", [])
    assert "500" in found["last_error"]
    assert "not published to hub, tried again in 5 s" in messages(client, job_id)[0]
    assert not attempt(), "not before its time"
    again(client, job_id)
    assert attempt()
    assert told(client, job_id)["state"] == "published"
    assert hub.commits == [("acme/captioner", FILES)]


@pytest.mark.parametrize(("name", "variable"), [("hub", "PUSH_HUB"), ("bucket", "PUSH_S3")])
def test_secrets_are_told_nowhere(client, finished, attempt, monkeypatch, caplog, name, variable):
    wrong = "hf_wrong-secret" if name == "hub" else f"{ACCESS}:wrong-secret"
    job_id = finished((name, "acme/captioner"))
    caplog.set_level(logging.DEBUG, "secateur")
    for value in (wrong, None):
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
        assert attempt()
        again(client, job_id)
    everything = "".join(
        client.get(f"/v1/jobs/{job_id}{path}").text for path in ("", "/events", "/publications")
    )
    assert "wrong-secret" not in everything + caplog.text
    assert f"has no variable {variable}" in everything
    assert "not published" in everything


def test_files_stay_while_they_are_on_their_way(client, finished, attempt):
    job_id = finished(("hub", "acme/captioner"))
    assert_problem(client.delete(f"/v1/jobs/{job_id}"), 409, "job_in_use")
    assert attempt()
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_destinations_belong_to_projects(client):
    job = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
    wanted = [{"destination": "theirs", "target": "acme/captioner"}]
    answer = client.post("/v1/jobs", json=job | {"publish": wanted})
    assert_problem(answer, 422, "destination_unknown")
    assert "bucket, hub" in answer.json()["detail"]
