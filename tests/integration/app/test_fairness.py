"""What keeps threads for long in the API, a slow hub or large uploads, keeps no other project."""

import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2
import pytest
from PIL import Image

from app.services import keys, projects
from app.uploads import ingest
from tests.integration.hub_server import Hub, hub_server

MANY = 60  # more than the API has threads
JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


@pytest.fixture
def hub(monkeypatch):
    """A hub that says nothing until it is let."""
    with hub_server() as server:
        server.let = threading.Event()
        real = Hub.do_GET
        monkeypatch.setattr(Hub, "do_GET", lambda self: (self.server.let.wait(60), real(self)))
        yield server
        server.let.set()


@pytest.fixture
def settings(settings, hub):
    endpoint = {"hub_endpoint": f"http://127.0.0.1:{hub.server_port}"}
    return settings.model_copy(update={"models": settings.models.model_copy(update=endpoint)})


@pytest.fixture
def other(server, engine):
    """A client of another project, with connections of its own."""
    with engine.begin() as connection:
        project = projects.create(connection, "other")
        secret = keys.issue(connection, "other", project_id=project.id)[1]
    headers = {"Authorization": f"Bearer {secret}"}
    return partial(httpx2.request, headers=headers, timeout=90, trust_env=False), f"{server}/v1"


def until(condition):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError


def test_a_hub_that_hangs_holds_up_neither_other_requests_nor_projects(remote, other, hub):
    send, url = other

    def plan(number):
        return send("POST", f"{url}/plans", json=JOB | {"model": f"hf:org/model-{number}"})

    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(plan, number) for number in range(MANY)]
        until(lambda: sum(each.done() for each in asked) >= MANY - 4)
        assert len(hub.requests) <= 4
        assert remote.get("/v1/jobs", timeout=5).status_code == 200
        queued = remote.post("/v1/jobs", json=JOB, timeout=5)
        assert queued.status_code == 202
        own = pool.submit(remote.post, "/v1/plans", json=JOB | {"model": "hf:org/good"}, timeout=90)
        hub.let.set()
        assert own.result().json()["code"] != "hub_unavailable"
    answers = [each.result() for each in asked]
    refused = [each.json()["code"] for each in answers if each.status_code == 503]
    assert refused == ["hub_unavailable"] * (MANY - 4)
    again = plan(0).json()
    assert again["code"] == "model_not_found", "a refusal for want of a turn is not remembered"


def archive(number):
    image, out = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(image, "PNG")
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("rows.jsonl", '{"text": "a", "image": "a.png"}\n')
        made.writestr("a.png", image.getvalue())
    return out.getvalue()


def test_uploads_of_one_project_hold_up_neither_requests_nor_another_upload(
    remote, other, monkeypatch
):
    send, url = other
    real, let, checking = ingest.check_image, threading.Event(), []

    def slowly(content, row, most):
        checking.append(row)
        if len(checking) == 1:
            let.wait(60)
        return real(content, row, most)

    monkeypatch.setattr(ingest, "check_image", slowly)
    with ThreadPoolExecutor(MANY) as pool:
        sent = [
            pool.submit(send, "POST", f"{url}/datasets", content=archive(number))
            for number in range(MANY)
        ]
        try:
            until(lambda: checking)
            assert remote.get("/v1/jobs", timeout=5).status_code == 200
            own = remote.post("/v1/datasets", content=archive(200), timeout=10)
            assert own.status_code == 201
            assert not any(each.done() for each in sent)
        finally:
            let.set()
    assert [each.result().status_code for each in sent] == [201] * MANY
