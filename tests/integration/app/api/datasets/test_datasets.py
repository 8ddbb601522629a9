"""Data sets over HTTP: uploaded, looked at, named by jobs."""

import io
import json
import os
import shutil
import zipfile

import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from app.services.jobs.garbage_collection import sweep_datasets
from app.services.projects import service
from app.services.quarantine import Guard
from app.settings import Storage
from app.storage.datasets import DatasetStore
from tests.integration.app.api.http.test_api import JOB, assert_problem

ROWS = b'{"text": "one"}\n{"text": "two"}\n'


def files(settings):
    kept = (settings.storage.dir / "datasets").rglob("*")
    return [path for path in kept if path.is_file()]


def test_an_upload_answers_with_its_content_and_place(client):
    answer = client.post("/v1/datasets", content=ROWS)
    assert answer.status_code == 201
    found = answer.json()
    assert (found["rows"], found["fields"], found["images"]) == (2, ["text"], 0)
    assert answer.headers["location"] == f"/v1/datasets/{found['id']}"
    assert client.get(answer.headers["location"]).json() == found
    again = client.post("/v1/datasets", content=ROWS)
    assert (again.status_code, again.json()) == (200, found)


def test_an_archive_with_images_may_be_larger_than_a_json_body(client, settings):
    image, out = io.BytesIO(), io.BytesIO()
    Image.effect_noise((100, 100), 50).save(image, "PNG")
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("rows.jsonl", json.dumps({"image": "a.png", "text": "noise"}))
        made.writestr("a.png", image.getvalue())
    assert len(out.getvalue()) > settings.api.max_body_bytes
    found = client.post("/v1/datasets", content=out.getvalue()).json()
    assert (found["rows"], found["images"]) == (1, 1)


def test_what_is_refused_leaves_nothing(client, settings):
    body = assert_problem(
        client.post("/v1/datasets", content=ROWS + ROWS), 422, "dataset_row_duplicate"
    )
    assert body["errors"] == [
        {
            "code": "dataset_row_duplicate",
            "detail": "row 3: says what row 1 says",
            "row": "3",
        }
    ]
    assert files(settings) == []


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_has_its_own_limit(settings, client, announced):
    small = settings.datasets.model_copy(update={"max_upload_bytes": 1024})
    limited = settings.model_copy(update={"datasets": small})
    content = ROWS * 100
    with TestClient(create_app(limited), headers=client.headers) as uploader:
        body = content if announced else iter([content[:1000], content[1000:]])
        answer = uploader.post("/v1/datasets", content=body)
    assert_problem(answer, 413, "dataset_too_large")
    assert files(settings) == []


def test_a_form_is_taken_as_its_file_is(client, settings):
    answer = client.post("/v1/datasets", files={"file": ("rows.jsonl", ROWS)})
    assert answer.status_code == 201
    assert answer.json() == client.post("/v1/datasets", content=ROWS).json()
    refused = client.post("/v1/datasets", files={"other": ("x", b"{}"), "file": ("y", ROWS)})
    assert_problem(refused, 422, "dataset_form_invalid")
    small = settings.datasets.model_copy(update={"max_upload_bytes": 1024})
    limited = settings.model_copy(update={"datasets": small})
    with TestClient(create_app(limited), headers=client.headers) as uploader:
        for content in (ROWS * 100, b" " * 20_000):  # past the file's limit, past the form's
            answer = uploader.post("/v1/datasets", files={"file": ("rows.jsonl", content)})
            assert_problem(answer, 413, "dataset_too_large")


def test_a_key_is_needed_before_anything_is_received(anonymous):
    assert_problem(anonymous.post("/v1/datasets", content=ROWS), 401, "api_key_missing")


@pytest.mark.parametrize("name", ["sha256:" + "0" * 64, "sentences", "sha256:..", "incoming"])
def test_unknown_sets_are_not_found(client, name):
    assert_problem(client.get(f"/v1/datasets/{name}"), 404, "dataset_not_found")


@pytest.mark.parametrize("part", ["calibration", "evaluation"])
def test_jobs_may_name_only_sets_that_are_there(client, part):
    stored = client.post("/v1/datasets", content=ROWS).json()["id"]
    assert client.post("/v1/jobs", json=JOB | {part: {"set": stored}}).status_code == 202
    absent = "sha256:" + "0" * 64
    answer = client.post("/v1/jobs", json=JOB | {part: {"set": absent}})
    assert_problem(answer, 404, "dataset_not_found")


def test_sets_are_listed_and_forgotten(client):
    made = [client.post("/v1/datasets", content=b'{"text": "%d"}\n' % i).json() for i in range(3)]
    ids = sorted(each["id"] for each in made)
    page = client.get("/v1/datasets?limit=2").json()
    rest = client.get("/v1/datasets", params={"cursor": page["next_cursor"]}).json()
    assert [each["id"] for each in page["datasets"] + rest["datasets"]] == ids
    assert client.delete(f"/v1/datasets/{ids[0]}").status_code == 204
    assert_problem(client.get(f"/v1/datasets/{ids[0]}"), 404, "dataset_not_found")
    assert len(client.get("/v1/datasets").json()["datasets"]) == 2
    entries = client.get("/v1/audit?limit=2").json()["entries"]
    assert [entry["action"] for entry in entries] == ["dataset.delete", "dataset.upload"]


def test_a_project_has_a_limit_of_its_own(client, limits):
    limits(upload_bytes=10)
    assert_problem(client.post("/v1/datasets", content=ROWS), 413, "dataset_too_large")


@pytest.fixture
def sweep(engine, settings):
    store = DatasetStore(settings.storage.dir)
    return lambda: sweep_datasets(Guard(engine), store, store.stored())


def test_deleted_sets_leave_the_disk_after_the_jobs_that_read_them(client, settings, sweep, worker):
    sets = [
        client.post("/v1/datasets", content=ROWS + b'{"text": "%d"}\n' % n).json() for n in range(3)
    ]
    ids = [each["id"] for each in sets]
    part = {"method": "wanda", "calibration": {"set": ids[1]}}
    assert client.post("/v1/jobs", json=JOB | part).status_code == 202
    for each in ids[:2]:
        assert client.delete(f"/v1/datasets/{each}").status_code == 204
    assert stored(settings) == set(ids[1:]), "nothing reads the first"
    assert sweep() == 0
    assert worker.succeed(worker.claim())
    assert (sweep(), sweep()) == (1, 0)
    assert stored(settings) == {ids[2]}
    assert client.post("/v1/datasets", content=ROWS + b'{"text": "0"}\n').status_code == 201
    assert sweep() == 0
    assert client.get(f"/v1/datasets/{ids[0]}").status_code == 200


@pytest.fixture
def on_s3(settings, weed, credentials, tmp_path):
    """A service that keeps its artifacts on S3; data sets lie on the shared disk all the same."""
    prefix = f"{weed.bucket_url}/{tmp_path.name}"
    storage = Storage(dir=tmp_path / "artifacts", url=prefix, endpoint=weed.url)
    return settings.model_copy(update={"storage": storage})


@pytest.mark.parametrize("kept", ["settings", "on_s3"])
def test_a_deleted_set_is_gone_at_once_and_can_come_back(request, engine, kept):
    settings = request.getfixturevalue(kept)
    with engine.begin() as connection:
        key = {"Authorization": f"Bearer {service.create_key(connection, 'test')}"}
    with TestClient(create_app(settings), headers=key) as client:
        for _ in range(2):
            made = client.post("/v1/datasets", content=ROWS)
            assert made.status_code == 201
            assert stored(settings) == {made.json()["id"]}
            assert client.delete(made.headers["location"]).status_code == 204
            assert files(settings) == []


def test_a_set_of_two_projects_stays_until_both_have_deleted_it(client, settings):
    other = client.post("/v1/projects", json={"name": "other"}).json()["secret"]
    theirs = {"Authorization": f"Bearer {other}"}
    mine = client.post("/v1/datasets", content=ROWS).json()["id"]
    path = f"/v1/datasets/{mine}"
    assert client.post("/v1/datasets", content=ROWS, headers=theirs).json()["id"] == mine
    assert client.delete(path).status_code == 204
    assert client.get(path, headers=theirs).status_code == 200
    assert stored(settings) == {mine}
    assert client.delete(path, headers=theirs).status_code == 204
    assert files(settings) == []


def test_what_uploads_left_behind_goes_after_a_day(client, settings, sweep):
    incoming = settings.storage.dir / "datasets" / "incoming"
    for name in ("old", "new"):
        (incoming / name / "content").mkdir(parents=True)
        (incoming / f"{name}.zip").touch()
    for name in ("old", "old.zip"):
        os.utime(incoming / name, (0, 0))
    (settings.storage.dir / "datasets" / "lost+found").mkdir()
    sweep()
    assert {each.name for each in incoming.iterdir()} == {"new", "new.zip"}
    assert (settings.storage.dir / "datasets" / "lost+found").exists()


@pytest.mark.parametrize("damage", ["empty", "none", "cut", "file", "link"])
def test_a_damaged_set_hides_no_other_and_is_mended_by_its_next_upload(client, settings, damage):
    uploads = (ROWS, b'{"text": "other"}')
    damaged, other = (client.post("/v1/datasets", content=rows).json() for rows in uploads)
    place = settings.storage.dir / "datasets" / damaged["id"].removeprefix("sha256:")
    match damage:
        case "empty":
            (place / "info.json").write_bytes(b"")
        case "none":
            (place / "info.json").unlink()
        case "cut":
            (place / "info.json").write_bytes(b'{"id": "sha')
        case "file":
            shutil.rmtree(place)
            place.write_bytes(b"")
        case "link":
            shutil.rmtree(place)
            place.symlink_to("nowhere")
    assert [each["id"] for each in client.get("/v1/datasets").json()["datasets"]] == [other["id"]]
    assert client.get(f"/v1/datasets/{damaged['id']}").status_code == 404
    again = client.post("/v1/datasets", content=ROWS)
    assert (again.status_code, again.json()) == (200, damaged)
    assert client.get(f"/v1/datasets/{damaged['id']}").json() == damaged


def test_links_among_what_uploads_left_behind_go_and_what_they_name_stays(
    settings, client, sweep, tmp_path
):
    incoming = settings.storage.dir / "datasets" / "incoming"
    incoming.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    links = {
        "loop": "loop",
        "nowhere": "gone",
        "directory": elsewhere,
        "\udcff": elsewhere / "file",
    }
    for name, target in links.items():
        (incoming / name).symlink_to(target)
        os.utime(incoming / name, (0, 0), follow_symlinks=False)
    os.mkfifo(incoming / "pipe")
    os.utime(incoming / "pipe", (0, 0))
    sweep()
    assert list(incoming.iterdir()) == []
    assert (elsewhere / "file").exists()


def stored(settings):
    found = DatasetStore(settings.storage.dir).stored()
    return set(found.ours)
