"""Both stores: staged privately, published at once, read, listed, discarded."""

import errno
import hashlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from app import maintenance
from app.domain.errors import StorageUnavailableError
from app.domain.jobs import Artifact
from app.local.process import running
from app.local.valkey import free_port
from app.storage import s3
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.names import Found
from app.storage.store import open_store
from tests.seaweedfs import Weed

JOB = f"job_{7:032x}"
LARGE = os.urandom(s3.PART + 1_000_000)
FILES = {"config.json": b"{}", "packed/a b.txt": b"text", "model.safetensors": LARGE, "empty": b""}
_prefixes = (f"some/prefix-{number}" for number in itertools.count())


@pytest.fixture
def on_s3(weed, credentials, tmp_path):
    return open_store(tmp_path, f"{weed.bucket_url}/{next(_prefixes)}", weed.url)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    return open_store(tmp_path) if request.param == "local" else request.getfixturevalue("on_s3")


def stage(store, attempt=1, files=None):
    directory = store.stage(JOB, attempt)
    for name, content in (files or FILES).items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)


def artifact(path, attempt=1):
    content = FILES[path]
    return Artifact(
        JOB, attempt, path, len(content), hashlib.sha256(content).hexdigest(), "text/plain"
    )


def content_at(place, **headers):
    if isinstance(place, Path):
        return place.read_bytes()
    answer = httpx2.get(place, headers=headers, trust_env=False)
    assert answer.status_code in {200, 206}, answer.text
    return answer.content


def test_what_is_published_is_what_was_staged(store):
    stage(store)
    assert store.attempts().ours == {(JOB, 1)}
    store.publish(JOB, 1)
    assert store.attempts().ours == {(JOB, 1)}
    for path, content in FILES.items():
        assert b"".join(store.read(artifact(path))) == content
        assert content_at(store.locate(artifact(path))) == content


def test_a_file_is_read_from_any_place(store):
    stage(store)
    store.publish(JOB, 1)
    with store.open(artifact("model.safetensors")) as source:
        source.seek(s3.PART - 5)
        assert bytes(source.read(10)) == LARGE[s3.PART - 5 : s3.PART + 5]
        source.seek(3)
        assert bytes(source.read(s3.PART)) == LARGE[3 : s3.PART + 3]


def test_attempts_are_apart(store):
    for attempt in (1, 2):
        stage(store, attempt, {"config.json": b"{}"})
        store.publish(JOB, attempt)
    store.discard(JOB, 1)
    assert store.attempts().ours == {(JOB, 2)}
    assert b"".join(store.read(artifact("config.json", 2))) == b"{}"
    store.discard(JOB, 2)
    store.discard(JOB, 3)
    assert store.attempts() == Found(frozenset(), frozenset())


FOREIGN = ["lost+found", "backup-2024", "job_notes-1", f"{JOB}-0", f"{JOB}-1_0", f"{JOB}-\u0661"]


@pytest.mark.parametrize("area", ["staging", "published"])
def test_foreign_entries_on_disk_are_told_and_left_alone(tmp_path, area):
    store = open_store(tmp_path)
    stage(store)
    for name in FOREIGN:
        (tmp_path / area / name / "deep").mkdir(parents=True)
    (tmp_path / area / ".DS_Store").write_bytes(b"\0")
    (tmp_path / area / f"{JOB}-8").write_text("a file where a directory is expected")
    (tmp_path / area / f"{JOB}-9").symlink_to(tmp_path)
    (tmp_path / area / "loop").symlink_to("loop")
    (tmp_path / area / "ctrl\x01\n").write_text("")
    found = store.attempts()
    assert found.ours == {(JOB, 1)}
    others = {".DS_Store", f"{JOB}-8", f"{JOB}-9", "loop", "ctrl\x01\n"}
    assert found.foreign == others | set(FOREIGN)


def test_foreign_keys_on_s3_are_told_and_left_alone(on_s3):
    stage(on_s3)
    on_s3.publish(JOB, 1)
    for key in (".DS_Store", "backup-2024/a", f"{JOB}-0/a", "job_notes-1/a", f"{JOB}-2"):
        s3.obstore.put(on_s3._bucket, key, b"theirs")
    found = on_s3.attempts()
    assert found.ours == {(JOB, 1)}
    assert found.foreign == {".DS_Store", "backup-2024/", f"{JOB}-0/", "job_notes-1/", f"{JOB}-2"}


def escaped(key):
    return "".join(c if c.isprintable() else f"&#{ord(c)};" for c in key)


class Listing(BaseHTTPRequestHandler):
    """A bucket with keys that no client of ours can write, as S3 would list them: two a page."""

    def do_GET(self):
        asked = parse_qs(urlsplit(self.path).query)
        start = asked.get("prefix", [""])[0]
        after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
        keys = sorted(key for key in self.server.keys if key.startswith(start) and key > after)
        entry = (
            "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            '<ETag>"x"</ETag><Size>1</Size></Contents>'
        )
        common = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"
        more = "<IsTruncated>false</IsTruncated>"
        if "delimiter" in asked:
            deep = {start + key.removeprefix(start).partition("/")[0] + "/" for key in keys}
            inside = "".join(common.format(escaped(key)) for key in sorted(deep))
        else:
            if len(keys) > 2:
                token = f"<NextContinuationToken>{escaped(keys[1])}</NextContinuationToken>"
                more = f"<IsTruncated>true</IsTruncated>{token}"
            inside = "".join(entry.format(escaped(key)) for key in keys[:2])
        whole = f"{more}{inside}"
        body = f"<ListBucketResult>{whole}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def listing(credentials, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        server.store = open_store(tmp_path, "s3://b/p", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


@pytest.mark.parametrize("odd", ["p/zeta//b", "p/a/../b", "p/a/\t", f"p/{JOB}-2//x"])
def test_keys_that_cannot_be_read_hide_nothing_else(listing, odd):
    listing.keys = [f"p/{JOB}-1/config.json", odd]
    listing.store.check()
    assert (JOB, 1) in listing.store.attempts().ours


@pytest.mark.parametrize("odd", ["p/\t/x", "p//x", "p/../x", "p/./x", "p/zeta\x7f", "p/z\t/x"])
def test_a_key_that_cannot_be_read_at_the_top_is_told_and_ends_nothing(listing, odd):
    listing.keys = [odd, "p/backup/x", *(f"p/{JOB}-{number}/x" for number in range(1, 6)), "p/k/x"]
    listing.store.check()
    found = listing.store.attempts()
    assert {(JOB, number) for number in range(1, 5)} <= found.ours
    assert s3.UNREADABLE in found.foreign


def test_staging_again_starts_empty(store):
    stage(store)
    assert list(store.stage(JOB, 1).iterdir()) == []


def test_an_address_takes_ranges_and_no_changes(on_s3):
    stage(on_s3)
    on_s3.publish(JOB, 1)
    address = on_s3.locate(artifact("model.safetensors"))
    assert content_at(address, Range="bytes=5-9") == LARGE[5:10]
    assert httpx2.get(address + "0", trust_env=False).status_code == 403
    assert httpx2.put(address, content=b"", trust_env=False).status_code == 403


def test_clients_may_know_the_store_by_another_address(weed, credentials, tmp_path):
    public = weed.url.replace("127.0.0.1", "localhost")
    store = open_store(tmp_path, f"{weed.bucket_url}/{next(_prefixes)}", weed.url, public)
    stage(store)
    store.publish(JOB, 1)
    address = store.locate(artifact("config.json"))
    assert address.startswith(public)
    assert content_at(address) == b"{}"


def test_a_wrong_secret_is_refused(weed, on_s3, monkeypatch, tmp_path):
    stage(on_s3)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    wrong = open_store(tmp_path, weed.bucket_url, weed.url)
    for call in (
        lambda: wrong.publish(JOB, 1),
        wrong.attempts,
        lambda: list(wrong.read(artifact("config.json"))),
    ):
        with pytest.raises(StorageUnavailableError) as caught:
            call()
        assert "another" not in str(caught.value)
    assert (tmp_path / "staging" / f"{JOB}-1" / "config.json").exists(), "nothing was lost"


class Breaking:
    """A way to the server on which every connection breaks after so many bytes."""

    def __init__(self, port, after):
        self.port, self.after = port, after
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    def accept(self):
        while True:
            client, _ = self.listening.accept()
            client.settimeout(0.1)
            with client, suppress(OSError):
                if self.after is None:
                    return
                left = self.after
                while left > 0 and (data := client.recv(min(left, 65536))):
                    left -= len(data)

    def close(self):
        self.after = None
        socket.create_connection(self.listening.getsockname()).close()
        self.thread.join()
        self.listening.close()


def test_a_connection_that_breaks_publishes_nothing(weed, on_s3, monkeypatch, tmp_path):
    monkeypatch.setattr(s3, "PATIENCE", timedelta(seconds=1))
    stage(on_s3)
    way = Breaking(weed.port, after=1_000_000)
    try:
        broken = open_store(tmp_path, weed.bucket_url, way.url)
        with pytest.raises(StorageUnavailableError):
            broken.publish(JOB, 1)
    finally:
        way.close()
    assert (tmp_path / "staging" / f"{JOB}-1" / "model.safetensors").read_bytes() == LARGE
    on_s3.publish(JOB, 1)  # the connection is back
    assert b"".join(on_s3.read(artifact("model.safetensors"))) == LARGE


STALLED = """
import sys
from pathlib import Path
from app.storage.store import open_store
from tests.seaweedfs import Weed
print("begins", flush=True)
open_store(Path(sys.argv[1]), *sys.argv[2:]).publish(f"job_{7:032x}", 1)
"""


def test_a_kill_while_publishing_leaves_nothing_that_stays(weed, on_s3, tmp_path):
    stage(on_s3)
    way = Breaking(weed.port, after=1 << 40)  # takes everything and answers nothing
    bucket = f"{weed.bucket_url}/killed"
    killed = open_store(tmp_path, bucket, weed.url)
    command = [sys.executable, "-c", STALLED, str(tmp_path), bucket, way.url]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begins\n"
            process.kill()
    finally:
        way.close()
    # What is left is known by its attempt, which owns no artifact: the tidying discards it.
    assert killed.attempts().ours == {(JOB, 1)}
    killed.discard(JOB, 1)
    assert killed.attempts().ours == set()
    assert not (tmp_path / "staging" / f"{JOB}-1").exists()


def test_a_server_that_is_full_is_told(credentials, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "PATIENCE", timedelta(seconds=1))
    with (
        tempfile.TemporaryDirectory(prefix="secateur-test-") as name,
        running(Weed(Path(name), volume_megabytes=1, volumes=1)) as full,
    ):
        store = open_store(tmp_path, f"{full.bucket_url}/x", full.url)
        stage(store)
        with pytest.raises(StorageUnavailableError):
            store.publish(JOB, 1)
    assert (tmp_path / "staging" / f"{JOB}-1" / "model.safetensors").read_bytes() == LARGE


FULL = """
import sys
from pathlib import Path
from app.storage.store import open_store
from tests.seaweedfs import Weed
store, JOB = open_store(Path(sys.argv[1])), f"job_{7:032x}"
staging = store.stage(JOB, 1)
try:
    (staging / "model.safetensors").write_bytes(bytes(2 << 20))
except OSError as error:
    print(error.errno, (staging / "model.safetensors").stat().st_size)
store.discard(JOB, 1)
print(len(store.attempts().ours))
"""


def test_a_full_disk_publishes_nothing(tmp_path):
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    if subprocess.run([*own, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk of his own")
    script = tmp_path.with_suffix(".py")
    script.write_text(FULL)
    command = f"{mount} && exec {sys.executable} {script} {tmp_path}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    ran = subprocess.run(
        [*own, "sh", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    error, left = ran.stdout.splitlines()
    assert error.split()[0] == str(errno.ENOSPC)
    assert int(error.split()[1]) < 2 << 20
    assert left == "0"


def test_a_file_lost_on_the_way_is_noticed(on_s3, monkeypatch):
    stage(on_s3)
    real = s3.obstore.put
    monkeypatch.setattr(
        s3.obstore, "put", lambda b, key, f, **o: key.endswith("empty") or real(b, key, f, **o)
    )
    with pytest.raises(StorageUnavailableError, match=f"{JOB}-1/empty"):
        on_s3.publish(JOB, 1)


def test_maintenance_outlives_a_store_that_is_away(engine, credentials, monkeypatch, tmp_path):
    monkeypatch.setattr(s3, "PATIENCE", timedelta(seconds=0.1))
    away = open_store(tmp_path, "s3://bucket", f"http://127.0.0.1:{free_port()}")
    kept = CheckpointStore(tmp_path / "checkpoints")
    datasets = DatasetStore(tmp_path / "datasets")
    assert not maintenance._guarded(lambda: maintenance.tidy(engine, away, kept, datasets))
