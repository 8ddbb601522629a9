"""Both stores: staged privately, published at once, read, listed, discarded."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from app.storage import s3
from app.storage.names import Found
from app.storage.store import open_store
from tests.integration.app.storage.staged_files import (
    FILES,
    JOB,
    LARGE,
    artifact,
    content_at,
    stage,
)


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
    store = open_store(tmp_path, f"{weed.bucket_url}/some/prefix-public", weed.url, public)
    stage(store)
    store.publish(JOB, 1)
    address = store.locate(artifact("config.json"))
    assert address.startswith(public)
    assert content_at(address) == b"{}"
