"""Faults that pass are waited out, and refusals say why; against a real server of few words."""

import asyncio
import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save

from app.packed.pack import pack
from secateur_client import (
    AsyncClient,
    Client,
    DownloadError,
    RefusedError,
    SecateurError,
    UnreachableError,
)

JOB = {"id": "job_1", "status": "queued", "progress": 0.0, "phase": None}
WEIGHTS = b"w" * 5000


class Answers(BaseHTTPRequestHandler):
    """Answers as `server.script` says, one entry a request, the last one again and again."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append(
            (self.command, self.path, dict(self.headers), self.rfile.read(length))
        )
        script = self.server.script
        status, headers, body, whole = script.pop(0) if len(script) > 1 else script[0]
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(whole or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = bool(whole)

    def do_POST(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def log_message(self, *_):
        """Say nothing."""


def answer(status, body=None, whole=None, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body or JOB).encode()
    return status, {name.replace("_", "-"): each for name, each in headers.items()}, content, whole


BUSY = answer(503, {"code": "overloaded", "detail": "too many"}, Retry_After="0")


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as made:
        made.seen, made.script = [], []
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(server):
    with Client(f"http://127.0.0.1:{server.server_port}", "k", retries=2) as made:
        yield made


def test_a_job_is_asked_for_again_under_one_key(server, client):
    server.script = [BUSY, BUSY, answer(202)]
    assert client.prune("m", method="wanda").id == "job_1"
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in server.seen}
    assert (len(server.seen), len(keys)) == (3, 1)


def test_the_same_without_blocking(server):
    server.script = [BUSY, answer(202)]

    async def ask():
        async with AsyncClient(f"http://127.0.0.1:{server.server_port}", "k") as client:
            return await client.prune("m", method="wanda")

    assert asyncio.run(ask()).id == "job_1"


def test_a_refusal_has_code_hint_and_issues_and_is_final(server, client):
    issue = {"code": "missing", "detail": "is missing", "pointer": "/model"}
    told = {"code": "request_invalid", "detail": "model is missing", "errors": [issue]}
    server.script = [answer(422, told, X_Request_Id="req_1")]
    with pytest.raises(RefusedError) as caught:
        client.plan("m")
    error = caught.value
    assert (error.code, error.hint, error.status) == ("request_invalid", "model is missing", 422)
    assert (error.issues, error.request_id, len(server.seen)) == ([issue], "req_1", 1)


def test_who_sent_no_key_is_told_how_to_give_one(server, client):
    server.script = [answer(401, {"code": "api_key_missing", "detail": "send a header"})]
    with pytest.raises(RefusedError, match=r"key=\.\.\. or in SECATEUR_KEY"):
        client.plan("m")


def test_it_gives_up_in_the_end(server, client):
    server.script = [BUSY]
    with pytest.raises(RefusedError, match="overloaded"):
        client.plan("m")
    assert len(server.seen) == 3


def test_nobody_at_home():
    with (
        Client("http://somebody:secret@127.0.0.1:9", retries=0) as client,
        pytest.raises(UnreachableError, match=r"no answer from http://127\.0\.0\.1:9") as caught,
    ):
        client.methods()
    assert isinstance(caught.value, SecateurError)
    assert "secret" not in caught.value.hint


def test_an_upload_is_sent_whole_again(server, client, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    server.script = [BUSY, answer(201, {"id": "sha256:1"})]
    assert client.datasets.upload(tmp_path / "rows.jsonl")["id"] == "sha256:1"
    assert server.seen[0][3] == server.seen[1][3] != b""


def listing(content=WEIGHTS, path="model.safetensors"):
    digest = hashlib.sha256(content).hexdigest()
    return answer(200, {"artifacts": [{"path": path, "size": len(content), "sha256": digest}]})


def test_an_answer_without_a_body_is_none(server, client):
    server.script = [answer(200), (204, {}, b"", None)]
    assert client.jobs.get("job_1").delete() is None


def test_a_cut_download_goes_on_where_it_was(server, client, tmp_path):
    binary = {"Content_Type": "application/octet-stream"}
    cut = answer(200, WEIGHTS[:2000], len(WEIGHTS), **binary)
    server.script = [answer(200), listing(), cut, answer(206, WEIGHTS[2000:], **binary)]
    job = client.jobs.get("job_1")
    assert (job.download(tmp_path) / "model.safetensors").read_bytes() == WEIGHTS
    assert server.seen[-1][2]["Range"] == "bytes=2000-"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_packed_download_keeps_what_came_whole(server, client, tmp_path):
    weights = {"a": np.eye(2000, dtype="float32"), "b": np.ones(500_000, "float32")}
    whole = save(weights)
    packed = b"".join(pack(io.BytesIO(whole)))
    binary = {"Content_Type": "application/octet-stream"}
    cut = answer(200, packed[:-1_500_000], len(packed), **binary)
    server.script = [answer(200), listing(whole), cut]
    job = client.jobs.get("job_1")
    rest = io.BytesIO(whole)

    server.script.append(answer(200, b"", len(packed), **binary))
    with pytest.raises(UnreachableError):
        job.download(tmp_path, packed=True)
    [gathered] = tmp_path.iterdir()
    had = gathered.stat().st_size
    assert len(whole) > had > 4 * 2000 * 2000 - 8 * (1 << 20)
    server.script = [listing(whole), answer(200, b"".join(pack(rest, had)), **binary)]
    assert (job.download(tmp_path, packed=True) / "model.safetensors").read_bytes() == whole
    assert server.seen[-1][1] == f"/v1/jobs/job_1/packed/model.safetensors?start={had}"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    server.script = [listing(whole), answer(200, b"not packed", **binary)]
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DownloadError, match="damaged"):
        job.download(tmp_path, packed=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_gets_no_name(server, client, tmp_path):
    server.script = [answer(200), listing(b"other"), answer(200, WEIGHTS)]
    with pytest.raises(DownloadError, match="damaged"):
        client.jobs.get("job_1").download(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_file_is_written_outside(server, client, tmp_path):
    server.script = [answer(200), listing(path="../up")]
    with pytest.raises(DownloadError, match="outside"):
        client.jobs.get("job_1").download(tmp_path / "in")
