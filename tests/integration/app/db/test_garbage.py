"""Files that nobody owns go, in batches; what somebody owns or reads stays."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db import artifacts, datasets, tables
from app.domain.jobs import Artifact, JobStatus
from app.ids import new_id
from app.services.jobs import garbage_collection
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.local import LocalStore

DEFAULT = "prj_default"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(garbage_collection, "BATCH", 2)


@pytest.fixture
def stored(rows, engine):
    """Rows that other transactions see, removed in the end."""
    yield rows
    rows.connection.rollback()
    with engine.begin() as connection:
        for table in (tables.datasets, tables.artifacts, tables.outbox, tables.jobs):
            connection.execute(table.delete())
        connection.execute(tables.projects.delete().where(tables.projects.c.id != DEFAULT))


def test_files_of_attempts_that_own_nothing_go(stored, engine, tmp_path):
    store = LocalStore(tmp_path)
    running, ended = stored.job(status=JobStatus.RUNNING, attempt=2), stored.job(attempt=1)
    published = stored.job(status=JobStatus.SUCCEEDED, attempt=1)
    artifacts.add(stored.connection, [Artifact(published, 1, "a", 1, "0", "t")])
    stored.connection.commit()
    owned = {(running, 2), (published, 1)}
    unowned = {(running, 1), (ended, 1), (new_id("job"), 1), (new_id("job"), 7)}
    for job_id, attempt in owned | unowned:
        store.stage(job_id, attempt)
    found = store.attempts()
    assert garbage_collection.discard_abandoned(Guard(engine), store, found) == 4
    assert store.attempts().ours == owned
    store.stage(ended, 1)
    told = [(ended, 1), (running, 2)]
    assert garbage_collection.discard_unowned(stored.connection, store, told) == 1
    assert store.attempts().ours == owned


def test_checkpoints_of_jobs_that_have_ended_go(stored, engine, tmp_path):
    kept = CheckpointStore(tmp_path)
    by_status = {status: stored.job(status=status) for status in JobStatus}
    stored.connection.commit()
    for job_id in [*by_status.values(), new_id("job")]:
        kept.directory(job_id).mkdir()
    assert garbage_collection.sweep_checkpoints(Guard(engine), kept, kept.jobs()) == 4
    live = {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING}
    assert kept.jobs().ours == {by_status[status] for status in live}
    assert garbage_collection.sweep_checkpoints(Guard(engine), kept, kept.jobs()) == 0
    nobody = CheckpointStore(tmp_path / "empty")
    assert garbage_collection.sweep_checkpoints(Guard(engine), nobody, nobody.jobs()) == 0


@pytest.fixture
def sets(tmp_path):
    """A store of five data sets, and their ids."""
    store = DatasetStore(tmp_path)
    ids = [f"sha256:{str(n) * 64}" for n in range(5)]
    for each in ids:
        with store.incoming() as directory:
            (directory / "x").mkdir()
            store.add(each, directory / "x", {})
    return store, ids


def test_data_sets_that_nobody_has_or_reads_go(stored, engine, sets):
    store, ids = sets
    datasets.add(stored.connection, DEFAULT, ids[1])
    datasets.add(stored.connection, stored.project("other"), ids[4])
    stored.connection.commit()
    assert garbage_collection.sweep_datasets(Guard(engine), store, store.stored()) == 3
    assert store.stored().ours == {ids[1], ids[4]}
    assert garbage_collection.sweep_datasets(Guard(engine), store, store.stored()) == 0


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("part", ["calibration", "evaluation"])
def test_data_sets_that_a_job_reads_stay_until_it_has_ended(stored, engine, sets, status, part):
    store, ids = sets
    ended = stored.now if status.terminal else None
    stored.job(status=status, finished_at=ended, spec={part: {"set": ids[0]}})
    stored.job(status=JobStatus.RUNNING, spec={"other": {"set": ids[1]}})
    stored.connection.commit()
    read = not status.terminal
    assert garbage_collection.discard_dataset(engine, store, ids[0]) is not read
    assert garbage_collection.discard_dataset(engine, store, ids[1])
    assert garbage_collection.sweep_datasets(Guard(engine), store, store.stored()) == 3
    assert store.stored().ours == ({ids[0]} if read else set())


def test_a_data_set_is_a_projects_until_it_deletes_it(stored, sets):
    _, ids = sets
    connection, other = stored.connection, stored.project("other")
    assert datasets.add(connection, DEFAULT, ids[0])
    assert not datasets.add(connection, DEFAULT, ids[0])
    assert datasets.add(connection, other, ids[0])
    assert datasets.add(connection, DEFAULT, ids[1])
    for keep in (False, True):
        assert datasets.has(connection, DEFAULT, ids[0], keep=keep)
        assert not datasets.has(connection, other, ids[1], keep=keep)
    assert datasets.page(connection, DEFAULT, limit=9, after=None) == ids[:2]
    assert datasets.page(connection, DEFAULT, limit=1, after=None) == ids[:1]
    assert datasets.page(connection, DEFAULT, limit=9, after=ids[0]) == ids[1:2]
    datasets.remove(connection, DEFAULT, ids[0])
    assert not datasets.has(connection, DEFAULT, ids[0])
    assert datasets.has(connection, DEFAULT, ids[1])
    assert datasets.owned(connection, ids) == {ids[0], ids[1]}


def test_who_removes_a_content_waits_for_who_stores_it(stored, engine, sets):
    _, ids = sets
    with engine.begin() as other:
        datasets.lock(other, ids[0])
        stored.connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        datasets.lock(stored.connection, ids[1])
        with pytest.raises(Exception, match="lock timeout"):
            datasets.lock(stored.connection, ids[0])


def test_a_data_set_that_is_kept_cannot_be_removed_meanwhile(stored, engine, sets):
    _, ids = sets
    stored.connection.commit()
    with engine.begin() as connection:
        datasets.add(connection, DEFAULT, ids[0])
    with engine.begin() as reader, engine.begin() as remover:
        assert datasets.has(reader, DEFAULT, ids[0])
        remover.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        with remover.begin_nested() as attempt:
            datasets.remove(remover, DEFAULT, ids[0])
            attempt.rollback()
        assert datasets.has(reader, DEFAULT, ids[0], keep=True)
        with pytest.raises(Exception, match="lock timeout"), remover.begin_nested():
            datasets.remove(remover, DEFAULT, ids[0])


def test_discarding_waits_for_who_stores_the_content(stored, engine, sets):
    store, ids = sets
    with engine.begin() as other:
        datasets.lock(other, ids[0])
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(garbage_collection.discard_dataset, engine, store, ids[0])
            with pytest.raises(TimeoutError):
                done.result(0.3)
            assert ids[0] in store.stored().ours
            other.commit()
            assert done.result(10)
    assert ids[0] not in store.stored().ours


def test_what_a_project_has_is_not_discarded(stored, engine, sets):
    store, ids = sets
    datasets.add(stored.connection, DEFAULT, ids[0])
    stored.connection.commit()
    assert not garbage_collection.discard_dataset(engine, store, ids[0])
    assert garbage_collection.discard_dataset(engine, store, ids[1])
    assert store.stored().ours == {*ids} - {ids[1]}
