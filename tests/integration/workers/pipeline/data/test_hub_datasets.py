"""A set of the Hugging Face Hub through `datasets` itself: the real client, a server of ours."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# What the child does: each name loaded as a job would, in a process of its own, since `datasets`
# reads where the hub is once, when it is imported.
CHILD = """
import json, sys
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.source import load_dataset

for name in sys.argv[1:]:
    try:
        found = load_dataset(name, Purpose.EVALUATION, samples=3, seed=0)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "says": str(error)}))
        continue
    print(json.dumps({
        "records": [
            [r.text, r.prompt, r.answer, r.label, r.image and [*r.image.size, r.image.mode]]
            for r in found.records
        ],
        "sha256": found.sha256,
    }))
"""


def questions():
    """Parquet with images inside, as sets of pictures lie on the hub."""
    rows = []
    for number in range(5):
        image = io.BytesIO()
        Image.new("RGB", (6, 4), (50 * number, 0, 0)).save(image, "PNG")
        rows.append(
            {
                "image": {"bytes": image.getvalue(), "path": f"{number}.png"},
                "question": f"which {number}",
                "answer": str(number),
            }
        )
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    for column in ("question", "answer"):
        features["info"]["features"][column] = {"dtype": "string", "_type": "Value"}
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps(features)}
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def lines(*texts):
    return b"".join(json.dumps({"sentence": text, "n": 1}).encode() + b"\n" for text in texts)


REPOS = {
    "org/texts": {
        "train.jsonl": lines("a cat", "a dog", "a cow", "a hen"),
        "test.jsonl": lines("an owl", "a fox"),
    },
    "org/pictures": {"data/validation-00000-of-00001.parquet": questions()},
    "org/numbers": {"train.jsonl": b'{"n": 1}\n'},
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API for data sets as the client uses."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, _ = unquote(self.path).partition("?")
        repo = next((repo for repo in REPOS if f"/{repo}" in path), None)
        if repo is None:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if "/resolve/" in path:
            name = path.partition("/resolve/")[2].partition("/")[2]
            return self.file(REPOS[repo].get(name))
        if "/tree/" in path:
            return self.json(self.listing(repo, path.partition("/tree/")[2].partition("/")[2]))
        siblings = [{"rfilename": name} for name in REPOS[repo]]
        return self.json({"id": repo, "sha": COMMIT, "siblings": siblings, "private": False})

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        """Which of some paths there are."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = json.loads(body) if body.startswith("{") else parse_qs(body)
        repo = next(repo for repo in REPOS if f"/{repo}/" in unquote(self.path))
        entries = self.listing(repo, "", deep=True)
        self.json([entry for entry in entries if entry["path"] in asked["paths"]])

    def listing(self, repo, folder, *, deep=False):
        found = {}
        for name, content in REPOS[repo].items():
            if folder and not name.startswith(f"{folder}/"):
                continue
            rest = name.removeprefix(f"{folder}/") if folder else name
            oid = hashlib.sha1(content).hexdigest()
            found[name] = {"type": "file", "path": name, "size": len(content), "oid": oid}
            if "/" in rest:
                parent = name[: len(name) - len(rest)] + rest.partition("/")[0]
                found[parent] = {"type": "directory", "path": parent, "oid": oid, "size": 0}
                if not (deep or "recursive=true" in self.path.lower()):
                    del found[name]
        return list(found.values())

    def file(self, content):
        if content is None:
            return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            end = min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
            return self.answer(206, content[int(first) : end + 1], headers)
        return self.answer(200, content, headers)

    def json(self, body):
        self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Loads sets by name in one child; what it found or how it failed, by name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    home = tmp_path_factory.mktemp("hub")
    places = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(home),
        "PYTHONPATH": str(Path.cwd()),
    }

    def load(*names):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *names],
            env=os.environ | places,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))

    yield load
    server.shutdown()
    thread.join()
    server.server_close()


def test_sets_of_the_hub_are_records(load):
    texts, pinned, pictures = "hf:org/texts#train", f"hf:org/texts@{COMMIT}#test", "hf:org/pictures"
    asked = f"{pictures}#validation"
    missing = ["hf:org/texts#dev", "hf:org/nowhere#train", "hf:org/numbers#train"]
    found = load(texts, pinned, asked, *missing)

    assert [r[0] for r in found[texts]["records"]] == ["a cat", "a dog", "a cow"]
    assert [r[0] for r in found[pinned]["records"]] == ["an owl", "a fox"]
    assert found[texts]["sha256"] != found[pinned]["sha256"]
    assert found[asked]["records"] == [
        [None, f"which {number}", str(number), None, [6, 4, "RGB"]] for number in range(3)
    ]
    assert {found[name]["error"] for name in missing} == {"DatasetSourceError"}
    assert "dev" in found[missing[0]]["says"]
    assert "nowhere" in found[missing[1]]["says"]
    assert "its columns are n" in found[missing[2]]["says"]
