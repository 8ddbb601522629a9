"""Uploads from a page: what is stored, what is refused and how, and who may."""

import html

import pytest

from app.domain.projects import Scope

DATASETS = "/console/datasets"
ROWS = b'{"text": "one"}\n{"text": "two"}\n'


@pytest.fixture
def upload(person):
    def send(content=ROWS, status=303, token=None, **headers):
        answer = person.client.post(
            DATASETS,
            data={"csrf_token": person.token if token is None else token},
            files={"file": ("rows.jsonl", content)},
            follow_redirects=False,
            headers=headers,
        )
        assert answer.status_code == status, answer.text
        return answer

    return send


def ids(client):
    return [each["id"] for each in client.get("/v1/datasets").json()["datasets"]]


def test_an_upload_is_listed_used_and_deleted(person, upload, client):
    answer = upload()
    [stored] = ids(client)
    page = person.get(html.unescape(answer.headers["location"])).text
    assert f"Uploaded as <code>{stored}</code>" in page
    form = person.get(f"/console/new?calibration={stored}").text
    assert f'name="calibration_set" list="sets" value="{stored}"' in form
    person.send(f"{DATASETS}/{stored}/delete")
    assert ids(client) == []
    assert "dataset_not_found" in person.send(f"{DATASETS}/{stored}/delete", status=404).text


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 422, "dataset_empty"),
        (b'{"text": "one"}\n{"text": 2}\n', 422, "row 2"),
        (b"PK\x03\x04", 422, "dataset_archive_invalid"),
    ],
)
def test_what_is_wrong_is_told_as_the_api_does(upload, client, content, status, told):
    page = upload(content, status).text
    assert "Nothing was uploaded" in page
    assert told in page
    assert 'type="file"' in page
    assert ids(client) == []


def test_the_limit_of_a_project_is_told_and_kept(person, upload, client, limits):
    limits(upload_bytes=10)
    assert 'data-most="10"' in person.get(DATASETS).text
    assert "dataset_too_large" in upload(status=413).text
    assert ids(client) == []


@pytest.mark.parametrize(
    ("token", "headers"),
    [("", {}), ("0" * 64, {}), (None, {"sec-fetch-site": "cross-site"})],
)
def test_forms_of_other_pages_store_nothing(upload, client, token, headers):
    assert "the form was" in upload(status=403, token=token, **headers).text
    assert ids(client) == []


def test_without_a_session_nothing_is_received(stranger):
    answer = stranger.client.post(
        DATASETS, files={"file": ("rows.jsonl", ROWS)}, follow_redirects=False
    )
    assert answer.status_code == 303
    assert "/console/sign-in" in answer.headers["location"]


def test_who_only_reads_uploads_and_deletes_nothing(stranger, client, key_of):
    stored = client.post("/v1/datasets", content=ROWS).json()["id"]
    reader = stranger.sign_in(key_of(Scope.READ))
    page = reader.get(DATASETS).text
    assert stored in page
    assert 'type="file"' not in page
    assert "/delete" not in page
    answer = reader.client.post(
        DATASETS,
        data={"csrf_token": reader.token},
        files={"file": ("rows.jsonl", b'{"text": "three"}\n')},
    )
    assert (answer.status_code, "scope" in answer.text) == (403, True)
    reader.send(f"{DATASETS}/{stored}/delete", status=403)
    assert ids(client) == [stored]


def test_sets_of_another_project_are_not_there(stranger, client, key_of):
    stored = client.post("/v1/datasets", content=ROWS).json()["id"]
    other = stranger.sign_in(key_of(Scope.ADMIN, project="other"))
    assert stored not in other.get(DATASETS).text
    other.send(f"{DATASETS}/{stored}/delete", status=404)
    assert ids(client) == [stored]
