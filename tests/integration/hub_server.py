"""A server that speaks enough of the hub's API for its real client."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

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
    """Model info, tree, HEAD and GET resolve, with ranges and the headers the client looks at."""

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
        if repo not in self.server.repos:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        revision, _, name = rest.partition("/")
        if revision not in REVISIONS:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api:
            return self.answer(200, json.dumps(self.describe(repo, "/tree/" in path)).encode())
        return self.give(self.server.repos[repo][unquote(name)])

    def give(self, content):
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if (asked := self.headers.get("Range")) is None:
            return self.answer(200, content, headers)
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self.server.read += len(part)
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return self.answer(206, part, headers)

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
                for name, content in self.server.repos[repo].items()
            ]
        files = self.server.repos[repo].items()
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files]
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


@contextmanager
def hub_server():
    """A running server.

    `repos` are its files, `requests` what it was asked, `read` the bytes given away in ranges;
    once `broken`, it answers nothing but errors.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repos, server.requests, server.broken, server.read = dict(REPOS), [], False, 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
