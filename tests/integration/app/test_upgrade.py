"""A new version beside the old one, and a backup brought back: by the book, the book included."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from starlette.testclient import TestClient

from app.db import migrate
from app.db.jobs import to_stored
from app.domain.jobs import Artifact
from app.domain.submission import JobRequest, JobSpec, resolve
from app.local.postgres import _binaries
from app.main import create_app
from app.recipes.methods import METHODS
from app.storage.local import LocalStore

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
BOOK = Path(__file__).parents[3] / "docs/how-to/back-up.md"
REVISIONS = [each.revision for each in ScriptDirectory(str(migrate.SCRIPTS)).walk_revisions()]
# What a worker of the version before takes for a specification: the JSON schema of its `JobSpec`.
# To be written anew with each release; what is added since then has no place in it.
SPEC_BEFORE = json.loads(Path(__file__).with_name("spec_before.schema.json").read_text())
# What a worker of the version before sends with every heartbeat.
HEARTBEAT = text(
    "UPDATE jobs SET lease_expires_at = now() + interval '1 minute', progress = 0.5 "
    "WHERE id = :id AND attempt = :attempt AND status IN ('running', 'cancelling') RETURNING status"
)


def columns(url):
    engine = create_engine(url)
    seen = inspect(engine)
    found = {
        (table, column["name"]): column
        for table in seen.get_table_names()
        for column in seen.get_columns(table)
    }
    engine.dispose()
    return found


def test_the_newest_migration_only_adds(postgres_server):
    """The version before goes on reading and writing: nothing it knows is gone or demanded."""
    newest, before, *_ = REVISIONS
    url = postgres_server.create_database("rolling")
    command.upgrade(migrate.alembic_config(url), before)
    old = columns(url)
    command.upgrade(migrate.alembic_config(url), newest)
    new = columns(url)
    assert set(old) <= set(new)
    assert all(str(old[key]["type"]) == str(new[key]["type"]) for key in old)
    tables = {table for table, _ in old}
    for table, name in set(new) - set(old):
        column = new[table, name]
        assert table not in tables or column["nullable"] or column["default"], (table, name)


def test_jobs_in_flight_outlive_an_upgrade(client, worker, engine, database_url):
    running, waiting = (client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(2))
    job = worker.claim()
    assert job.id == running
    command.downgrade(migrate.alembic_config(database_url), REVISIONS[1])
    beat = {"id": running, "attempt": 1}
    with engine.begin() as connection:
        assert connection.execute(HEARTBEAT, beat).scalar_one() == "running"
    migrate.upgrade(database_url)
    with engine.begin() as connection:
        assert connection.execute(HEARTBEAT, beat).scalar_one() == "running"
    worker.succeed(job)
    worker.succeed(worker.claim())
    for each in (running, waiting):
        found = client.get(f"/v1/jobs/{each}").json()
        assert (found["status"], found["attempt"]) == ("succeeded", 1)


JUDGED = {
    "evaluation": {"set": "sentences", "metrics": ["perplexity"]},
    "quality_gate": {"metric": "perplexity", "max_drop": 1},
    "measure": True,
}


@pytest.mark.parametrize(
    "changes", [{}, {"method": "wanda"}, JUDGED], ids=["plain", "wanda", "judged"]
)
def test_a_worker_of_the_version_before_reads_what_asks_for_nothing_new(client, worker, changes):
    assert client.post("/v1/jobs", json=JOB | changes).status_code == 202
    jsonschema.validate(worker.claim().stored_spec, SPEC_BEFORE)


def test_a_worker_of_the_version_before_refuses_what_it_cannot_do(client, worker):
    asked = {"evaluation": {"set": "sentences", "sample_answers": 3}}
    client.post("/v1/jobs", json=JOB | asked)
    with pytest.raises(jsonschema.ValidationError, match="sample_answers"):
        jsonschema.validate(worker.claim().stored_spec, SPEC_BEFORE)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_stored_means_what_was_asked(name):
    """Defaults that a later version may change are stored: how many records, which seed."""
    zeros = {"sparsity": 0.5} if METHODS[name].prunes == "weights" else {}
    asked = {"model": "tiny", "method": name, "evaluation": {"set": "scenes"}} | zeros
    spec = resolve(JobRequest.model_validate(asked))
    stored = to_stored(spec)
    assert JobSpec.model_validate(stored) == spec
    assert stored["evaluation"]["samples"] == 256
    assert values(spec.model_dump(mode="json")) - values(stored) <= {"None", "False", "[]"}


def values(tree):
    """The leaves of a JSON value, as texts."""
    if isinstance(tree, dict):
        return {leaf for each in tree.values() for leaf in values(each)} if tree else {"{}"}
    if isinstance(tree, list):
        return {leaf for each in tree for leaf in values(each)} if tree else {"[]"}
    return {str(tree)}


@pytest.fixture
def by_the_book(settings, tmp_path):
    """Run the commands of a section of the page."""

    def run(section, database_url):
        chapter = BOOK.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
        [block] = re.findall(r"```console\n(.*?)```", chapter, re.DOTALL)
        lines = [line.removeprefix("$ ") for line in block.splitlines()]
        surroundings = os.environ | {
            "PATH": f"{_binaries()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": database_url.replace("+psycopg", ""),
            "SECATEUR_DATABASE__URL": database_url,
            "STORAGE_DIR": str(settings.storage.dir),
        }
        script = ["bash", "-euc", "\n".join(lines)]
        done = subprocess.run(
            script, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    return run


def test_a_backup_comes_back(client, worker, settings, database_url, postgres_server, by_the_book):
    done = client.post("/v1/jobs", json=JOB).json()["id"]
    job = worker.claim()
    store = LocalStore(settings.storage.dir)
    (store.stage(job.id, job.attempt) / "config.json").write_text("{}")
    [file] = store.describe(job.id, job.attempt)
    assert isinstance(file, Artifact)
    store.publish(job.id, job.attempt)
    worker.succeed(job, files=[file])
    waiting = client.post("/v1/jobs", json=JOB).json()["id"]
    by_the_book("Back up", database_url)
    shutil.rmtree(settings.storage.dir)
    empty = postgres_server.create_database("restored")
    by_the_book("Restore", empty)
    url = settings.database.model_copy(update={"url": empty})
    with TestClient(create_app(settings.model_copy(update={"database": url}))) as restored:
        restored.headers["Authorization"] = client.headers["Authorization"]
        assert restored.get(f"/v1/jobs/{done}/artifacts/config.json").content == b"{}"
        assert restored.get(f"/v1/jobs/{waiting}").json()["status"] == "queued"
