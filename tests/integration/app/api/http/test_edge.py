"""Clients that go away, send slowly, send much or send without a key, over real connections."""

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection

import httpx2
import pytest
from prometheus_client import REGISTRY

from app.storage.local import LocalStore

UPLOAD, SUBMIT = "/v1/datasets", "/v1/jobs"
JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def counted(status, route):
    labels = {"method": "POST", "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("secateur_http_requests_total", labels) or 0


@pytest.fixture
def settings(settings):
    """Clients have a second for everything, and may send large bodies; there may be ten."""
    hurried = {"body_seconds": 1, "head_seconds": 1, "write_seconds": 1}
    limits = {"max_body_bytes": 1 << 20, "max_connections": 10}
    api = settings.api.model_copy(update=hurried | limits)
    return settings.model_copy(update={"api": api})


@pytest.fixture
def connect(server):
    """Open connections to the server."""
    opened = []
    host, _, port = server.removeprefix("http://").partition(":")

    def connected():
        client = socket.create_connection((host, int(port)), timeout=20)
        opened.append(client)
        return client

    yield connected
    for client in opened:
        client.close()


@pytest.fixture
def begin(connect, remote):
    """Send the head of a request with a body, and the first bytes of it."""

    def begun(path, *, length="1000", key=True):
        client = connect()
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        if key:
            head.append(f"Authorization: {remote.headers['Authorization']}")
        client.sendall("\r\n".join([*head, "", '{"half": ']).encode())
        return client

    return begun


def answer(client):
    """All that comes before the server closes the connection."""
    with client.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("path", [UPLOAD, SUBMIT])
def test_a_client_that_hangs_up_is_no_error(begin, caplog, path):
    caplog.set_level(logging.INFO)
    before = [counted(status, path) for status in (499, 500, 400)]
    client = begin(path)
    time.sleep(0.2)
    client.close()
    deadline = time.monotonic() + 10
    while counted(499, path) == before[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    after = [counted(status, path) for status in (499, 500, 400)]
    assert after == [before[0] + 1, *before[1:]]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert not [record for record in caplog.records if record.exc_info]


def test_nothing_follows_an_error(server, remote, monkeypatch):
    monkeypatch.setattr("app.services.jobs.service.page", lambda *_, **__: 1 / 0)
    failed = remote.get("/v1/jobs")
    assert failed.status_code == 500
    assert failed.headers["Connection"] == "close"
    assert remote.get("/livez").status_code == 200


@pytest.mark.parametrize("path", [UPLOAD, SUBMIT])
def test_a_slow_body_is_given_up(begin, path):
    text = answer(begin(path))
    assert text.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_too_slow"' in text
    assert b"connection: close" in text.lower()


@pytest.mark.parametrize("path", [UPLOAD, SUBMIT])
def test_without_a_key_no_large_body_is_waited_for(begin, path):
    text = answer(begin(path, length="1000000", key=False))
    assert text.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in text.lower()


def test_a_body_that_is_announced_too_large_is_not_waited_for(begin):
    text = answer(begin(SUBMIT, length="1048577"))
    assert text.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in text.lower()


def test_a_large_body_is_read_where_the_key_allows_it(remote):
    refused = remote.post(SUBMIT, json=JOB | {"labels": {"a": "x" * 100_000}})
    assert refused.status_code == 422
    chunks = iter([b'{"model": "tiny", "method": "magnitude", ', b'"sparsity": 0.5}'])
    head = {"Content-Type": "application/json"}
    assert remote.post(SUBMIT, content=chunks, headers=head).status_code == 202


SLOW_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("sent", [b"", b"G", SLOW_HEAD], ids=["nothing", "a byte", "half a head"])
def test_a_head_that_does_not_come_is_given_up(connect, sent):
    client = connect()
    client.sendall(sent)
    with suppress(ConnectionResetError):
        assert client.recv(100) == b""


def test_a_connection_outlasts_the_pools_of_clients(server):
    """Closed earlier, it is closed under the request that a client sends just then."""
    with closing(HTTPConnection(server.removeprefix("http://"), timeout=20)) as client:
        for pause in (6, 0):  # httpx2 keeps one for five seconds, and a head may take one here
            client.request("GET", "/livez")
            assert client.getresponse().read()
            time.sleep(pause)


def test_a_head_that_drips_is_given_up(connect):
    client = connect()
    client.sendall(SLOW_HEAD + b"\r\n")
    assert b"200 OK" in client.recv(1000)
    with pytest.raises(ConnectionError):  # noqa: PT012  any of them may be the one that fails
        for byte in SLOW_HEAD * 3:
            client.sendall(bytes([byte]))
            time.sleep(0.05)


def test_who_waits_makes_room_for_whoever_comes(connect, remote):
    """Forty connections that send nothing; ten are kept, and requests are answered."""
    for _ in range(40):
        connect()
        assert remote.get("/livez").status_code == 200
    assert remote.get("/v1/jobs").status_code == 200


def test_beyond_the_limit_health_is_answered_and_the_rest_refused(server, remote):
    with ThreadPoolExecutor(10) as pool:
        job = remote.post(
            "/v1/jobs", json={"model": "tiny", "method": "magnitude", "sparsity": 0.5}
        )
        url = f"{server}/v1/jobs/{job.json()['id']}?wait=3"
        headers = dict(remote.headers)
        waiting = [
            pool.submit(httpx2.get, url, headers=headers, timeout=20, trust_env=False)
            for _ in range(10)
        ]
        time.sleep(1.5)
        refused = httpx2.get(f"{server}/v1/jobs", headers=headers, trust_env=False)
        assert refused.status_code == 503
        assert refused.json()["code"] == "overloaded"
        assert refused.headers["Connection"] == "close"
        assert httpx2.get(f"{server}/livez", trust_env=False).status_code == 200
        assert httpx2.get(f"{server}/readyz", trust_env=False).status_code == 200
        assert {answer.result().status_code for answer in waiting} == {200}


def test_a_client_that_reads_nothing_is_cut_off(connect, remote, worker, settings):
    content = b"x" * (64 << 20)
    job = submitted(remote, worker, settings, content)
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"GET /v1/jobs/{job}/archive HTTP/1.1\r\nHost: x\r\nAuthorization: "
    client.sendall(f"{head}{remote.headers['Authorization']}\r\n\r\n".encode())
    time.sleep(4)
    with suppress(ConnectionResetError):
        assert len(answer(client)) < len(content)


def submitted(remote, worker, settings, content):
    """The id of a job that has published a file of this content."""
    job = remote.post("/v1/jobs", json=JOB)
    store = LocalStore(settings.storage.dir)
    claimed = worker.claim()
    (store.stage(claimed.id, claimed.attempt) / "model.safetensors").write_bytes(content)
    files = store.describe(claimed.id, claimed.attempt)
    store.publish(claimed.id, claimed.attempt)
    worker.succeed(claimed, files)
    return job.json()["id"]
