import hashlib
import os
import sys
from pathlib import Path

import pytest

from app.domain.jobs import Artifact
from app.errors import StorageUnavailableError
from app.storage.local import PIECE, LocalStore
from app.storage.names import Found

JOB = "job_" + "0a" * 16


def artifact(path):
    return Artifact("job_1", 2, path, 2, "", "text/plain")


def test_publish_moves_everything_at_once(tmp_path):
    store = LocalStore(tmp_path)
    staged = store.stage("job_1", 2)
    (staged / "deep").mkdir()
    (staged / "deep" / "file.txt").write_text("hi")
    assert not store.locate(artifact("deep/file.txt")).exists()
    store.publish("job_1", 2)
    assert store.locate(artifact("deep/file.txt")).read_text() == "hi"
    assert not staged.exists()


def test_one_is_published_beside_the_other(tmp_path):
    store = LocalStore(tmp_path / "made" / "for it")
    for attempt in (1, 2):
        (store.stage(JOB, attempt) / "a").write_text(str(attempt))
        store.publish(JOB, attempt)
    files = [Artifact(JOB, attempt, "a", 1, "", "text/plain") for attempt in (1, 2)]
    assert [store.locate(file).read_text() for file in files] == ["1", "2"]


def test_staging_again_starts_empty(tmp_path):
    store = LocalStore(tmp_path)
    (store.stage("job_1", 2) / "left").write_text("over")
    assert list(store.stage("job_1", 2).iterdir()) == []


def test_discard_leaves_other_attempts_alone(tmp_path):
    store = LocalStore(tmp_path)
    (store.stage("job_1", 1) / "a").write_text("1")
    (store.stage("job_1", 2) / "a").write_text("2")
    store.publish("job_1", 2)
    store.discard("job_1", 1)
    assert store.locate(artifact("a")).read_text() == "2"
    assert [path.name for path in (tmp_path / "staging").iterdir()] == []


@pytest.fixture
def synced(monkeypatch):
    """Names of what was written through to the disk, in order."""
    names = []
    fsync = os.fsync

    def note(handle):
        names.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a handle is of")
def test_published_files_are_on_the_disk_with_their_directories(tmp_path, synced):
    store = LocalStore(tmp_path)
    staged = store.stage(JOB, 2)
    (staged / "deep").mkdir()
    (staged / "deep" / "file.txt").write_text("hi")
    handles = len(list(Path("/proc/self/fd").iterdir()))
    store.publish(JOB, 2)
    assert sorted(synced[:-1]) == sorted(["deep", "file.txt", staged.name])
    assert synced[-1] == "published", "the rename comes last"
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_what_is_staged_is_described_by_path(tmp_path):
    store = LocalStore(tmp_path)
    staged = store.stage(JOB, 2)
    (staged / "b").mkdir()
    (staged / "b" / "c.json").write_text("{}")
    (staged / "a.unheard-of").write_bytes(b"")
    assert store.describe(JOB, 2) == [
        Artifact(
            *(JOB, 2, "a.unheard-of", 0, hashlib.sha256().hexdigest(), "application/octet-stream")
        ),
        Artifact(JOB, 2, "b/c.json", 2, hashlib.sha256(b"{}").hexdigest(), "application/json"),
    ]


def test_published_files_are_read_in_pieces_or_from_any_place(tmp_path):
    store = LocalStore(tmp_path)
    content = os.urandom(PIECE + 5)
    (store.stage(JOB, 1) / "a").write_bytes(content)
    store.publish(JOB, 1)
    file = Artifact(JOB, 1, "a", len(content), "", "")
    assert [len(piece) for piece in store.read(file)] == [256 << 10, 5]
    assert b"".join(store.read(file)) == content
    with store.open(file) as stream:
        stream.seek(PIECE)
        assert stream.read() == content[PIECE:]


def test_attempts_are_those_with_files_staged_or_published(tmp_path):
    store = LocalStore(tmp_path)
    assert store.attempts() == Found(frozenset(), frozenset())
    store.stage(JOB, 1)
    store.publish(JOB, 1)
    store.stage(JOB, 2)
    (tmp_path / "staging" / ".DS_Store").write_text("")
    (tmp_path / "published" / "notes").mkdir()
    assert store.attempts() == Found(
        frozenset({(JOB, 1), (JOB, 2)}), frozenset({".DS_Store", "notes"})
    )


def test_discarding_takes_staged_and_published_files(tmp_path):
    store = LocalStore(tmp_path)
    store.stage(JOB, 1)
    store.publish(JOB, 1)
    store.discard(JOB, 1)
    store.discard(JOB, 1)
    assert store.attempts() == Found(frozenset(), frozenset())


def test_a_directory_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    LocalStore(tmp_path / "new" / "one").check()
    LocalStore(tmp_path / "new" / "one").check()
    assert (tmp_path / "new" / "one" / "staging").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError, match="Not a directory"):
        LocalStore(tmp_path / "file").check()
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(StorageUnavailableError, match="cannot be written to"):
        LocalStore(tmp_path).check()


def test_one_attempt_is_published_after_another(tmp_path):
    store = LocalStore(tmp_path)
    for attempt in (1, 2):
        store.stage(JOB, attempt)
        store.publish(JOB, attempt)
    assert store.attempts().ours == {(JOB, 1), (JOB, 2)}
