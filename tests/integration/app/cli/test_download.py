"""download: verified, resumed, shared between several at once."""

import hashlib
import os
import re
import time

import pytest

from app.cli.commands.jobs.download import DownloadError, download_bars, fetch
from app.db import models
from app.domain.projects import DEFAULT_PROJECT
from tests.integration.app.cli.downloads import contents, fetch_four_times_at_once

WEIGHTS = os.urandom(3_000_000)
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}", "1_Pooling/config.json": b"[]"}


@pytest.fixture
def finished(hand, job_id):
    hand.succeed(hand.claim(job_id), FILES)
    return job_id


@pytest.fixture
def served(house):
    """Status codes with which weights were answered since the test began, once so many are told."""
    log = house.settings.data_dir / "logs" / "api.log"
    start = log.stat().st_size

    def statuses(number):
        deadline = time.monotonic() + 10  # an answer is logged after it is sent
        while True:
            found = re.findall(r"/model\.safetensors (\d+)", log.read_bytes()[start:].decode())
            if len(found) >= number or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    return statuses


def interrupted(directory, content):
    """Leave what a download that was cut off leaves."""
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (directory / f".model.safetensors.{digest[:12]}.partial").write_bytes(content)


def test_every_file_arrives(secateur, finished, tmp_path):
    ran = secateur("download", finished, tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"3 files in {tmp_path / 'out'}\n"
    assert contents(tmp_path / "out") == FILES


def test_a_version_of_a_model_is_named_by_its_revision(secateur, engine, finished, tmp_path):
    with engine.begin() as connection:
        found = models.add_version(connection, DEFAULT_PROJECT, "captioner", finished)
    for named in (f"models/captioner@{found.revision}", "models/captioner"):
        ran = secateur("download", named, tmp_path / "out")
        assert ran.exit_code == 0, ran.output
        assert contents(tmp_path / "out") == FILES
    for named, says in (("models/captioner@v99", "no version 99"), ("models/captioner@x", "'x'")):
        ran = secateur("download", named, tmp_path / "none")
        assert ran.exit_code != 0
        assert says in ran.stderr


def test_what_is_there_is_not_sent_again(secateur, finished, tmp_path, served):
    secateur("download", finished, tmp_path)
    assert secateur("download", finished, tmp_path).exit_code == 0
    assert served(1) == ["200"]
    assert contents(tmp_path) == FILES


def test_a_damaged_file_is_replaced(secateur, finished, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\0" * len(WEIGHTS))
    assert secateur("download", finished, tmp_path).exit_code == 0
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize("have", [1, 1_000_000, len(WEIGHTS)])
def test_an_interrupted_download_goes_on(secateur, finished, tmp_path, served, have):
    interrupted(tmp_path, WEIGHTS[:have])
    assert secateur("download", finished, tmp_path).exit_code == 0
    assert contents(tmp_path) == FILES
    sent = ["206"] * (have < len(WEIGHTS))
    assert served(len(sent)) == sent


def test_a_damaged_start_is_noticed_and_thrown_away(secateur, finished, tmp_path):
    interrupted(tmp_path, b"\0" * 1000)
    ran = secateur("download", finished, tmp_path)
    assert ran.exit_code == 1
    assert "model.safetensors arrived damaged" in ran.stderr
    assert not (tmp_path / "model.safetensors").exists()
    assert secateur("download", finished, tmp_path).exit_code == 0
    assert contents(tmp_path) == FILES


def test_several_at_once_end_with_whole_files(house, finished, tmp_path):
    fetch_four_times_at_once(house, finished, tmp_path, packed=False)
    assert contents(tmp_path) == FILES


def test_a_job_without_files_is_refused(secateur, job_id, tmp_path):
    ran = secateur("download", job_id, tmp_path / "out")
    assert ran.exit_code == 3
    assert f"artifacts_missing: job {job_id} has no files; it is queued" in ran.stderr
    assert not (tmp_path / "out").exists()


class Liar:
    """A service that names a file outside the destination."""

    def __init__(self, path):
        self.path = path

    def artifacts(self, _):
        return [{"path": self.path, "size": 0, "sha256": ""}]


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../evil", ""])
def test_a_service_cannot_write_elsewhere(tmp_path, path):
    with download_bars() as bars, pytest.raises(DownloadError, match="outside the destination"):
        fetch(Liar(path), "job", tmp_path / "out", bars)
