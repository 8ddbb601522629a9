"""Projects do not see each other; keys have scopes and ends; limits hold."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from app.db import projects as rows
from app.domain.jobs import Artifact
from app.domain.projects import DEFAULT_PROJECT, INCLUDED, Limits, Scope
from app.main import create_app
from app.services.projects import service as projects
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


@pytest.fixture
def stranger(settings, engine):
    """A client with an admin key of another project."""
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = projects.issue_key(connection, "theirs", project_id=other.id)
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


def set_limits(engine, **limits):
    with engine.begin() as connection:
        rows.set_limits(connection, DEFAULT_PROJECT, Limits(**limits))


def test_nothing_of_a_project_is_visible_elsewhere(client, stranger, worker):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    worker.succeed(worker.claim(), [Artifact(job_id, 1, "a", 1, "0", "text/plain")])
    key_id = client.get("/v1/keys").json()["keys"][0]["id"]
    attempts = [
        *(("GET", f"/v1/jobs/{job_id}{path}") for path in ("", "/result", "/events")),
        *(("GET", f"/v1/jobs/{job_id}/artifacts{path}") for path in ("", "/a")),
        *(("POST", f"/v1/jobs/{job_id}/{verb}") for verb in ("cancel", "retry", "clone")),
        ("PATCH", f"/v1/jobs/{job_id}"),
        ("DELETE", f"/v1/jobs/{job_id}"),
        ("POST", f"/v1/keys/{key_id}/rotate"),
        ("DELETE", f"/v1/keys/{key_id}"),
    ]
    for method, path in attempts:
        body = {} if method in {"POST", "PATCH"} else None
        code = "api_key_not_found" if "keys" in path else "job_not_found"
        assert_problem(stranger.request(method, path, json=body), 404, code)
    headers = {"Accept": "text/event-stream"}
    assert stranger.get(f"/v1/jobs/{job_id}/events", headers=headers).status_code == 404
    assert stranger.get("/v1/jobs").json()["jobs"] == []
    assert [key["name"] for key in stranger.get("/v1/keys").json()["keys"]] == ["theirs"]
    assert stranger.get("/v1/audit").json()["entries"] == []
    assert stranger.get("/v1/project").json()["name"] == "other"
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200


def test_repositories_are_invisible_elsewhere(client, stranger, worker):
    job_id = client.post("/v1/jobs", json=JOB | {"publish_as": "ours"}).json()["id"]
    manifest = Artifact(job_id, 1, "manifest.json", 1, "0" * 64, "application/json")
    worker.succeed(worker.claim(), [manifest])
    for name in (f"jobs/{job_id}", "models/ours"):
        hub = f"/api/models/{name}"
        for path in ("", "/refs", "/revision/main", "/tree/main"):
            assert client.get(hub + path).status_code == 200
            assert stranger.get(hub + path).status_code == 404
        form = {"paths": "manifest.json"}
        assert client.post(f"{hub}/paths-info/main", data=form).status_code == 200
        assert stranger.post(f"{hub}/paths-info/main", data=form).status_code == 404
        assert stranger.get(f"/{name}/resolve/main/manifest.json").status_code == 404
    assert stranger.get("/v1/models").json()["models"] == []
    for method, path in (("GET", ""), ("GET", "/versions/1"), ("DELETE", "/versions/1")):
        assert stranger.request(method, f"/v1/models/ours{path}").status_code == 404
    named = stranger.post("/v1/models/mine/versions", json={"job_id": job_id})
    assert named.status_code == 404
    assert client.get("/v1/models/ours/versions/1").status_code == 200


def test_the_operator_makes_and_lists_projects(client, anonymous):
    wanted = {"name": "vision", "limits": {"queued_jobs": 1}}
    made = client.post("/v1/projects", json=wanted).json()
    assert made["project"]["limits"]["queued_jobs"] == 1
    names = [each["name"] for each in client.get("/v1/projects").json()["projects"]]
    assert names == ["vision", "default"]
    assert_problem(client.post("/v1/projects", json=wanted), 409, "project_exists")
    entry = client.get("/v1/audit?limit=1").json()["entries"][0]
    assert (entry["action"], entry["target"]) == ("project.create", made["project"]["id"])
    theirs = {"Authorization": f"Bearer {made['secret']}"}
    assert anonymous.get("/v1/project", headers=theirs).json()["name"] == "vision"
    for verb in ("GET", "POST"):
        refused = anonymous.request(verb, "/v1/projects", headers=theirs, json={"name": "more"})
        assert_problem(refused, 403, "scope_missing")
    reader = client.post("/v1/keys", json={"name": "r", "scope": "submit"}).json()["secret"]
    refused = anonymous.get("/v1/projects", headers={"Authorization": f"Bearer {reader}"})
    assert_problem(refused, 403, "scope_missing")


def test_limits_are_changed_by_the_operator(client, anonymous):
    made = client.post("/v1/projects", json={"name": "vision"}).json()
    path = f"/v1/projects/{made['project']['id']}"
    theirs = {"Authorization": f"Bearer {made['secret']}"}
    assert anonymous.post("/v1/jobs", json=JOB, headers=theirs).status_code == 202
    seen = client.get(path)
    changed = client.patch(
        path, json={"queued_jobs": 1}, headers={"If-Match": seen.headers["etag"]}
    )
    assert changed.json()["limits"] == seen.json()["limits"] | {"queued_jobs": 1}
    assert changed.headers["etag"] not in {"", seen.headers["etag"]}
    full = anonymous.post("/v1/jobs", json=JOB, headers=theirs)
    assert_problem(full, 429, "quota_queued_jobs")
    late = client.patch(path, json={"queued_jobs": 9}, headers={"If-Match": seen.headers["etag"]})
    assert_problem(late, 412, "precondition_failed")
    entry = client.get("/v1/audit?limit=1").json()["entries"][0]
    assert (entry["action"], entry["target"]) == ("project.change", made["project"]["id"])
    for verb in ("GET", "PATCH"):
        refused = anonymous.request(verb, path, json={}, headers=theirs)
        assert_problem(refused, 403, "scope_missing")
    assert_problem(client.patch("/v1/projects/prj_none", json={}), 404, "project_not_found")
    wrong = client.patch(path, json={"running_jobs": 0})
    assert_problem(wrong, 422, "field_invalid")


def test_data_sets_and_sweeps_are_invisible_elsewhere(client, stranger):
    dataset = client.post("/v1/datasets", content=b'{"text": "ours"}\n').json()["id"]
    sweep = {"model": "tiny", "methods": [{"method": "magnitude"}], "sparsities": [0.5]}
    sweep_id = client.post("/v1/sweeps", json=sweep).json()["id"]
    for method, path in [
        *(("GET", f"/v1/sweeps/{sweep_id}{path}") for path in ("", "/events", "/leaderboard")),
        ("POST", f"/v1/sweeps/{sweep_id}/cancel"),
        ("DELETE", f"/v1/sweeps/{sweep_id}"),
    ]:
        assert_problem(stranger.request(method, path), 404, "sweep_not_found")
    assert stranger.get("/v1/sweeps").json()["sweeps"] == []
    assert stranger.get(f"/v1/jobs?sweep={sweep_id}").json()["jobs"] == []
    for method in ("GET", "DELETE"):
        answer = stranger.request(method, f"/v1/datasets/{dataset}")
        assert_problem(answer, 404, "dataset_not_found")
    assert stranger.get("/v1/datasets").json()["datasets"] == []
    named = stranger.post("/v1/jobs", json=JOB | {"calibration": {"set": dataset}})
    assert_problem(named, 404, "dataset_not_found")
    again = stranger.post("/v1/datasets", content=b'{"text": "ours"}\n')
    assert again.status_code == 201, "not even that somebody else has it"


def test_an_idempotency_key_is_a_projects_own(client, stranger):
    headers = {"Idempotency-Key": "k"}
    answers = [it.post("/v1/jobs", json=JOB, headers=headers) for it in (client, stranger)]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_a_secret_is_shown_once_and_works(client):
    made = client.post("/v1/keys", json={"name": "ci", "scope": "read"}).json()
    assert made["secret"].startswith("sct_")
    assert made["secret"] not in client.get("/v1/keys").text
    assert made["key"]["last_used_at"] is None
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    listed = {key["id"]: key for key in client.get("/v1/keys").json()["keys"]}
    assert listed[made["key"]["id"]]["last_used_at"] is not None


@pytest.mark.parametrize("scope", list(Scope))
def test_scopes(client, scope):
    made = client.post("/v1/keys", json={"name": "x", "scope": scope}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    allowed = {
        Scope.READ: client.get("/v1/jobs", headers=headers),
        Scope.SUBMIT: client.post("/v1/jobs", json=JOB, headers=headers),
        Scope.ADMIN: client.get("/v1/keys", headers=headers),
    }
    for needed, answer in allowed.items():
        if needed in INCLUDED[scope]:
            assert answer.is_success
        else:
            assert_problem(answer, 403, "scope_missing")


def test_keys_expire_and_can_be_revoked(client, engine):
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    expired = client.post("/v1/keys", json={"name": "old", "expires_at": past}).json()
    revoked = client.post("/v1/keys", json={"name": "bad"}).json()
    assert client.delete(f"/v1/keys/{revoked['key']['id']}").json()["revoked_at"]
    for made in (expired, revoked):
        headers = {"Authorization": f"Bearer {made['secret']}"}
        assert_problem(client.get("/v1/jobs", headers=headers), 401, "api_key_invalid")
        again = client.delete(f"/v1/keys/{made['key']['id']}")
        assert_problem(again, 404, "api_key_not_found")


@pytest.mark.parametrize(("grace", "status"), [(0, 401), (60, 200)])
def test_rotation_replaces_the_secret(client, grace, status):
    old = client.post("/v1/keys", json={"name": "ci", "scope": "submit"}).json()
    path = f"/v1/keys/{old['key']['id']}/rotate"
    new = client.post(path, json={"grace_seconds": grace}).json()
    assert (new["key"]["name"], new["key"]["scope"]) == ("ci", "submit")
    for made, expected in ((old, status), (new, 200)):
        headers = {"Authorization": f"Bearer {made['secret']}"}
        assert client.get("/v1/jobs", headers=headers).status_code == expected


def test_a_limit_beyond_what_the_database_counts_refuses_nobody(client, engine):
    set_limits(engine, queued_jobs=10**30, artifact_bytes=10**30, requests_per_minute=10**30)
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    assert client.get("/v1/project").json()["limits"]["queued_jobs"] == 10**30


def test_queued_jobs_are_limited_exactly(client, engine):
    set_limits(engine, queued_jobs=5)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=JOB), range(16)))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 11
    refused = client.post("/v1/jobs", json=JOB)
    assert_problem(refused, 429, "quota_queued_jobs")
    assert int(refused.headers["retry-after"]) > 0


def test_running_jobs_are_limited_and_others_go_on(client, stranger, engine, worker):
    set_limits(engine, running_jobs=2)
    for _ in range(4):
        client.post("/v1/jobs", json=JOB)
    with ThreadPoolExecutor(4) as pool:
        claimed = [job for job in pool.map(lambda _: worker.claim(), range(4)) if job]
    claimed += [job for job in (worker.claim(), worker.claim()) if job]
    assert len(claimed) == 2
    theirs = stranger.post("/v1/jobs", json=JOB).json()["id"]
    assert worker.claim().id == theirs
    worker.succeed(claimed[0])
    assert worker.claim() is not None
    assert client.get("/v1/project").json()["usage"]["running_jobs"] == 2


def test_published_bytes_are_limited(client, engine, worker):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    worker.succeed(worker.claim(), [Artifact(job_id, 1, "a", 100, "0", "text/plain")])
    set_limits(engine, artifact_bytes=99)
    assert_problem(client.post("/v1/jobs", json=JOB), 403, "quota_artifact_bytes")
    client.delete(f"/v1/jobs/{job_id}")
    assert client.post("/v1/jobs", json=JOB).status_code == 202


def test_requests_are_limited_and_every_answer_says_so(client, engine, valkey_server):
    set_limits(engine, requests_per_minute=100_000)
    answer = client.get("/v1/jobs/absent")
    assert answer.headers["ratelimit-policy"] == '"project";q=100000;w=60'
    assert answer.headers["ratelimit"].startswith('"project";r=')
    set_limits(engine, requests_per_minute=1)
    answers = [client.get("/v1/methods") for _ in range(3)]
    refused = answers[-1]
    assert_problem(refused, 429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert '"project";r=0;' in refused.headers["ratelimit"]


def test_changes_are_in_the_audit_log(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    client.patch(f"/v1/jobs/{job_id}", json={"priority": 1})
    client.post(f"/v1/jobs/{job_id}/cancel")
    client.delete(f"/v1/jobs/{job_id}")
    page = client.get("/v1/audit?limit=3").json()
    entries = page["entries"]
    assert [entry["action"] for entry in entries] == ["job.delete", "job.cancel", "job.change"]
    assert {entry["target"] for entry in entries} == {job_id}
    rest = client.get(f"/v1/audit?cursor={page['next_cursor']}").json()
    assert [entry["action"] for entry in rest["entries"]] == ["job.submit"]
