"""Models from the hub: the real client against a server that speaks enough of the hub's API."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.domain.errors import (
    HubUnavailableError,
    ModelFilesError,
    ModelGatedError,
    ModelNotFoundError,
    ModelRevisionError,
    ModelSourceError,
    UnsafeWeightsError,
)
from app.domain.model_source import HubModel, LocalModel
from workers.pipeline.sources import fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "1_Pooling/config.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "modeling_evil.py": b"raise SystemExit",
}
REPOS = {
    "org/good": GOOD,
    "org/pickled": {"config.json": b"{}", "pytorch_model.bin": b"a pickle"},
    "org/empty": {"README.md": b"# Nothing"},
    "org/no-config": {"model.safetensors": b"weights"},
}
REVISIONS = {"main", "v1", COMMIT}


class Hub(BaseHTTPRequestHandler):
    """Model info, tree, HEAD and GET resolve, with the headers the client looks at."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append((self.command, self.path))
        if self.server.broken:
            return self.answer(500, b"out of order")
        api, path = self.path.startswith("/api/models/"), self.path.partition("?")[0]
        repo, _, rest = (
            path.removeprefix("/api/models/")
            .lstrip("/")
            .partition(
                "/"
                + {True: "revision" if "/revision/" in path else "tree", False: "resolve"}[api]
                + "/"
            )
        )
        if repo == "org/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if repo not in REPOS:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        revision, _, name = rest.partition("/")
        if revision not in REVISIONS:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api:
            return self.answer(200, json.dumps(self.describe(repo, "/tree/" in path)).encode())
        content = REPOS[repo][name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self.answer(200, content, headers)

    def do_HEAD(self):
        self.do_GET()

    def describe(self, repo, tree):
        if tree:
            return [
                {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": hashlib.sha1(content).hexdigest(),
                }
                for name, content in REPOS[repo].items()
            ]
        siblings = [{"rfilename": name} for name in REPOS[repo]]
        return {"id": repo, "sha": COMMIT, "siblings": siblings}

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests, server.broken = [], False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def get(hub, tmp_path):
    def get(name, revision="main"):
        return fetch(
            HubModel(name, revision),
            roots=(),
            hub_endpoint=f"http://127.0.0.1:{hub.server_port}",
            hub_cache=tmp_path / "hub",
        )

    return get


@pytest.mark.parametrize("revision", ["main", "v1", COMMIT])
def test_a_model_arrives_with_its_commit(get, revision):
    files = get("org/good", revision)
    assert files.revision == COMMIT
    assert (files.directory / "model.safetensors").read_bytes() == b"weights"


def test_neither_pickles_nor_code_are_downloaded(get, hub):
    directory = get("org/good").directory
    arrived = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert arrived == {"config.json", "model.safetensors", "1_Pooling/config.json"}
    assert not [path for _, path in hub.requests if path.endswith((".bin", ".py"))]


def test_a_commit_is_downloaded_once_and_serves_while_the_hub_is_away(get, hub):
    first = get("org/good", "main")
    downloads = len([path for _, path in hub.requests if "/resolve/" in path])
    assert get("org/good", COMMIT) == first
    assert len([path for _, path in hub.requests if "/resolve/" in path]) == downloads
    hub.broken = True
    assert get("org/good", "main") == first


@pytest.mark.parametrize(
    ("name", "revision", "error"),
    [
        ("org/absent", "main", ModelNotFoundError),
        ("org/gated", "main", ModelGatedError),
        ("org/good", "v2", ModelRevisionError),
        ("org/pickled", "main", UnsafeWeightsError),
        ("org/empty", "main", ModelFilesError),
        ("org/no-config", "main", ModelFilesError),
        ("org--bad", "main", ModelSourceError),
    ],
)
def test_each_refusal_has_its_own_error(get, name, revision, error):
    with pytest.raises(error, match=f"hf:{name}"):
        get(name, revision)


def test_a_hub_that_is_out_of_order_may_be_asked_again(get, hub):
    hub.broken = True
    with pytest.raises(HubUnavailableError, match="hf:org/good cannot be downloaded now"):
        get("org/good")


def test_a_hub_that_is_not_there_may_be_asked_again(tmp_path):
    with pytest.raises(HubUnavailableError):
        fetch(
            HubModel("org/good"),
            roots=(),
            hub_endpoint="http://127.0.0.1:9",
            hub_cache=tmp_path,
        )


def test_a_local_model_has_no_revision(tmp_path):
    (tmp_path / "tiny").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "tiny" / name).touch()
    files = fetch(LocalModel("tiny"), roots=(tmp_path,), hub_endpoint="", hub_cache=tmp_path)
    assert (files.directory, files.revision) == (tmp_path / "tiny", None)
