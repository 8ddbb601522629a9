"""Stores that refuse, break, fill up or lose files: nothing is published half."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from app import maintenance
from app.errors import StorageUnavailableError
from app.local.process import running
from app.local.valkey import free_port
from app.storage import s3
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store
from tests.integration.app.storage.staged_files import (
    JOB,
    LARGE,
    artifact,
    stage,
)
from tests.seaweedfs import Weed


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
