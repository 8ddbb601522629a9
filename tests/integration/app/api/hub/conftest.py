"""A real HTTP server over a job that was finished by hand, and clients' surroundings."""

import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.job_result import JobResult
from app.services.jobs import attempts
from app.services.projects.service import create_key
from app.storage.store import open_store
from tests.families import BY_NAME
from tests.integration.app.rows import new_job
from workers.pipeline.export import close_run, hash_files


@dataclass
class Served:
    """A running API.

    Attributes:
        repo: `jobs/<id>` of a finished job.
        commit: its revision.
        directory: the files it holds.
    """

    url: str
    key: str
    repo: str
    commit: str
    directory: Path


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hub") / "llava"
    BY_NAME["llava"].build(directory)
    (directory / "notes").mkdir()
    (directory / "notes" / "read me.txt").write_text("a file in a folder\n")
    return directory


@pytest.fixture
def publish(engine, settings):
    """Finish a job whose files are those of a directory; returns its id and manifest's digest."""
    store = open_store(settings.storage.dir, settings.storage.url, settings.storage.endpoint)

    def finish(directory):
        with engine.begin() as connection:
            new_job(connection, max_attempts=1)
        with engine.begin() as connection:
            job = attempts.claim(connection, worker="hand", lease=timedelta(minutes=1))
        staging = store.stage(job.id, job.attempt)
        shutil.copytree(directory, staging, dirs_exist_ok=True)
        files = close_run(staging, hash_files(staging), {"job": {}})
        store.publish(job.id, job.attempt)
        published = [file.published(job.id, job.attempt) for file in files]
        with engine.begin() as connection:
            attempts.succeed(connection, job, result=JobResult(), files=published, log=())
        return job.id, {file.path: file.sha256 for file in files}["manifest.json"]

    return finish


@pytest.fixture
def unfinished(engine):
    with engine.begin() as connection:
        return new_job(connection, max_attempts=1).id


@pytest.fixture
def served(serving, engine, publish, llava):
    with engine.begin() as connection:
        key = create_key(connection, "hub")
    job_id, manifest = publish(llava)
    return Served(serving, key, f"jobs/{job_id}", manifest[:40], llava)


@pytest.fixture
def surroundings(served, tmp_path):
    """The environment of a client, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": served.url,
        "HF_TOKEN": served.key,
        "SECATEUR_MODELS__SHARED_HUB_TOKEN": "true",
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
