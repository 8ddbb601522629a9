"""Clients that go away, send slowly, send much or send without a key, over real connections."""

import logging
import socket
import time

import pytest
from prometheus_client import REGISTRY

UPLOAD, SUBMIT = "/v1/datasets", "/v1/jobs"


def counted(status, route):
    labels = {"method": "POST", "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("secateur_http_requests_total", labels) or 0


@pytest.fixture
def settings(settings):
    """Bodies have a second, and may be large."""
    api = settings.api.model_copy(update={"max_body_bytes": 1 << 20, "body_seconds": 1})
    return settings.model_copy(update={"api": api})


@pytest.fixture
def begin(server, remote):
    """Send the head of a request with a body, and the first bytes of it."""
    opened = []

    def begun(path, *, length="1000", key=True):
        host, _, port = server.removeprefix("http://").partition(":")
        client = socket.create_connection((host, int(port)), timeout=20)
        opened.append(client)
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        if key:
            head.append(f"Authorization: {remote.headers['Authorization']}")
        client.sendall("\r\n".join([*head, "", '{"half": ']).encode())
        return client

    yield begun
    for client in opened:
        client.close()


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
    monkeypatch.setattr("app.services.jobs.page", lambda *_, **__: 1 / 0)
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
    job = {"model": "tiny", "method": "magnitude", "sparsity": 0.5, "labels": {"a": "x" * 100_000}}
    refused = remote.post(SUBMIT, json=job)
    assert refused.status_code == 422
    chunks = iter([b'{"model": "tiny", "method": "magnitude", ', b'"sparsity": 0.5}'])
    head = {"Content-Type": "application/json"}
    assert remote.post(SUBMIT, content=chunks, headers=head).status_code == 202
