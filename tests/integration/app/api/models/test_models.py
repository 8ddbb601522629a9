"""Jobs under names: versions, what keeps files, and what removes them."""

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from app import maintenance
from app.main import create_app
from app.services.projects import service as projects
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
FILES = {"config.json": b"{}", "shared.txt": b"the same in all jobs"}


@pytest.fixture
def store(settings):
    return open_store(settings.storage.dir)


@pytest.fixture
def finish(client, worker, store):
    """Submit a job and have it succeed with two files; returns its id."""

    def finish(**request):
        answer = client.post("/v1/jobs", json=JOB | request)
        assert answer.status_code == 202, answer.text
        job = worker.claim()
        assert job.id == answer.json()["id"]
        staging = store.stage(job.id, job.attempt)
        for name, content in FILES.items():
            (staging / name).write_bytes(content)
        files = store.describe(job.id, job.attempt)
        store.publish(job.id, job.attempt)
        assert worker.succeed(job, files)
        return job.id

    return finish


@pytest.fixture
def tidy(engine, store, settings):
    def tidy(**age):
        kept = CheckpointStore(settings.checkpoints.dir)
        sets = DatasetStore(settings.storage.dir)
        maintenance.retire(engine, files=timedelta(**age))
        maintenance.tidy(engine, store, kept, sets)

    return tidy


def content(client, job_id, path="shared.txt"):
    return client.get(f"/v1/jobs/{job_id}/artifacts/{path}")


def publish(client, name, job_id):
    answer = client.post(f"/v1/models/{name}/versions", json={"job_id": job_id})
    assert answer.status_code == 201, answer.text
    return answer.json()["version"]


def test_versions_count_up_and_are_never_given_twice(client, finish):
    first, second = finish(publish_as="captioner"), finish()
    assert publish(client, "captioner", second) == 2
    found = client.get("/v1/models/captioner").json()["versions"]
    assert [(each["revision"], each["job_id"]) for each in found] == [("v2", second), ("v1", first)]
    assert client.delete("/v1/models/captioner/versions/2").status_code == 204
    assert publish(client, "captioner", second) == 3
    assert client.get("/v1/models/captioner/versions/1").json()["job_id"] == first
    assert_problem(client.get("/v1/models/captioner/versions/2"), 404, "model_version_not_found")
    assert publish(client, "another", second) == 1
    page = client.get("/v1/models", params={"limit": 1}).json()
    assert [(each["name"], each["version"]) for each in page["models"]] == [("another", 1)]
    rest = client.get("/v1/models", params={"cursor": page["next_cursor"]}).json()
    assert [(each["name"], each["version"]) for each in rest["models"]] == [("captioner", 3)]


def test_local_models_are_those_that_a_job_may_name(client, settings):
    (root,) = settings.models.roots
    for name in ("zeta", "org/alpha"):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")
    (root / "empty").mkdir()
    names = [each["name"] for each in client.get("/v1/local-models").json()["models"]]
    assert names == sorted(names)
    assert {"zeta", "org/alpha", "tiny"} <= set(names)
    assert "empty" not in names


def test_a_success_that_is_published_says_so(client, finish):
    job_id = finish(publish_as="captioner")
    log = client.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["message"] for event in log][-2:] == [
        "published as models/captioner@v1",
        "succeeded",
    ]


@pytest.mark.parametrize("name", ["a b", "-a", "a--b", "a/b", "x" * 97, ""])
def test_names_the_hub_would_refuse_are_refused(client, name):
    assert client.post("/v1/jobs", json=JOB | {"publish_as": name}).status_code == 422


def test_a_job_without_files_is_no_version(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    answer = client.post("/v1/models/captioner/versions", json={"job_id": job_id})
    assert_problem(answer, 404, "artifact_not_found")
    answer = client.post("/v1/models/captioner/versions", json={"job_id": "job_none"})
    assert_problem(answer, 404, "job_not_found")
    assert_problem(client.get("/v1/models/captioner"), 404, "model_version_not_found")


def test_a_job_that_is_a_version_cannot_be_deleted(client, finish):
    job_id = finish(publish_as="captioner")
    assert_problem(client.delete(f"/v1/jobs/{job_id}"), 409, "job_in_use")
    assert content(client, job_id).content == FILES["shared.txt"]
    client.delete("/v1/models/captioner/versions/1")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_job_that_another_starts_from_cannot_be_deleted(client, finish):
    job_id = finish()
    started = client.post("/v1/jobs", json=JOB | {"model": f"hf:jobs/{job_id}@main"}).json()["id"]
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert_problem(answer, 409, "job_in_use")
    assert started in answer.json()["detail"]
    client.post(f"/v1/jobs/{started}/cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


@pytest.fixture
def stranger(settings, engine):
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = projects.issue_key(connection, "theirs", project_id=other.id)
    with TestClient(create_app(settings)) as stranger:
        stranger.headers["Authorization"] = f"Bearer {secret}"
        yield stranger


@pytest.mark.parametrize("revision", ["", "@main", "@v1"])
def test_what_another_project_names_keeps_no_files(client, stranger, finish, tidy, store, revision):
    deleted, expired = finish(), finish()
    for job_id in (deleted, expired):
        wanted = JOB | {"model": f"hf:jobs/{job_id}{revision}"}
        answer = stranger.post("/v1/jobs", json=wanted)
        assert answer.status_code == 202, answer.text
        methods = [{"method": "magnitude"}]
        sweep = {"model": wanted["model"], "methods": methods, "sparsities": [0.3, 0.5]}
        answer = stranger.post("/v1/sweeps", json=sweep)
        assert answer.status_code == 202, answer.text
    assert client.delete(f"/v1/jobs/{deleted}").status_code == 204
    tidy(seconds=0)
    assert store.attempts().ours == set()
    assert_problem(content(client, expired), 410, "artifacts_expired")


def test_a_job_of_the_same_project_keeps_files_from_expiring(client, finish, tidy, store):
    job_id = finish()
    client.post("/v1/jobs", json=JOB | {"model": f"hf:jobs/{job_id}"})
    tidy(seconds=0)
    assert store.attempts().ours == {(job_id, 1)}


def test_of_two_jobs_with_the_same_files_one_can_go(client, finish, store):
    kept, deleted = finish(), finish()
    assert client.delete(f"/v1/jobs/{deleted}").status_code == 204
    assert store.attempts().ours == {(kept, 1)}
    for path, expected in FILES.items():
        assert content(client, kept, path).content == expected


def test_files_expire_unless_something_needs_them(client, finish, tidy, store, engine):
    old, named = finish(), finish(publish_as="captioner")
    used = client.get("/v1/project").json()["usage"]["artifact_bytes"]
    tidy(hours=1)
    assert store.attempts().ours == {(old, 1), (named, 1)}
    tidy(seconds=0)
    assert store.attempts().ours == {(named, 1)}
    assert_problem(content(client, old), 410, "artifacts_expired")
    assert_problem(client.get(f"/v1/jobs/{old}/archive"), 410, "artifacts_expired")
    assert client.get(f"/v1/jobs/{old}").json()["files_expired_at"]
    assert content(client, named).content == FILES["shared.txt"]
    assert client.get("/v1/project").json()["usage"]["artifact_bytes"] == used // 2
    answer = client.post("/v1/models/captioner/versions", json={"job_id": old})
    assert_problem(answer, 410, "artifacts_expired")
    client.delete("/v1/models/captioner/versions/1")
    tidy(seconds=0)
    assert store.attempts().ours == set()


def test_an_unknown_destination_is_refused(client):
    wanted = [{"destination": "hub", "target": "acme/model"}]
    answer = client.post("/v1/jobs", json=JOB | {"publish": wanted})
    assert_problem(answer, 422, "destination_unknown")
