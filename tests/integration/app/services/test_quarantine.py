"""What one item breaks, the loops of maintenance set aside, tell, and try again; others go on."""

import os
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app import maintenance
from app.db import outbox, projects, quarantine, tables
from app.domain.jobs import JobStatus
from app.domain.projects import DEFAULT_PROJECT, Limits
from app.domain.quarantine import ROUND, Loop
from app.ids import new_id
from app.messages import printable
from app.queue import CeleryQueue, queue_of
from app.services.jobs import attempts
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store
from tests.integration.app.rows import new_job

PAST = func.now() - timedelta(hours=1)


@pytest.fixture
def aside(engine):
    def aside():
        with engine.connect() as connection:
            found = quarantine.newest(connection, limit=99)
        return {(each.loop, each.item): each for each in found}

    return aside


@pytest.fixture
def time_passes(engine):
    """Make everything that is set aside due again."""

    def time_passes():
        with engine.begin() as connection:
            connection.execute(update(tables.quarantine).values(next_at=func.now()))

    return time_passes


def later(engine):
    """Put off the next try of everything that is set aside."""
    with engine.begin() as connection:
        in_an_hour = func.now() + timedelta(hours=1)
        connection.execute(update(tables.quarantine).values(next_at=in_an_hour))


def queued(engine, count=1, **values):
    with engine.begin() as connection:
        made = [new_job(connection, max_attempts=2, **values) for _ in range(count)]
        for job in made:
            outbox.add(connection, job)
    return [job.id for job in made]


def change(engine, job_id, **values):
    with engine.begin() as connection:
        query = update(tables.jobs).where(tables.jobs.c.id == job_id)
        connection.execute(query.values(**values))


def statuses(engine, ids):
    query = select(tables.jobs.c.id, tables.jobs.c.status)
    with engine.connect() as connection:
        found = {row.id: row.status for row in connection.execute(query)}
    return [found[each] for each in ids]


def running(engine, count):
    ids = queued(engine, count)
    with engine.begin() as connection:
        for _ in ids:
            attempts.claim(connection, worker="w", lease=timedelta(seconds=9))
    return ids


POISON = {
    "an unknown phase": {"phase": "no such phase"},
    "an unknown kind of error": {"error_code": "x", "error_kind": None},
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize("column", ["lease_expires_at", "deadline"])
def test_a_poison_row_keeps_no_other_job_from_its_end(
    engine, queue, aside, time_passes, poison, column
):
    loop = Loop.REAP if column == "lease_expires_at" else Loop.OVERDUE
    bad, *good = running(engine, 3)
    change(engine, bad, **poison, **{column: PAST - timedelta(hours=1)})
    for each in good:
        change(engine, each, **{column: PAST})
    maintenance.tick(engine, queue)
    ended = JobStatus.QUEUED if loop is Loop.REAP else JobStatus.FAILED
    assert statuses(engine, [bad, *good]) == [JobStatus.RUNNING, ended, ended]
    found = aside()[loop, bad]
    assert found.failures == 1
    assert found.reason
    later(engine)
    maintenance.tick(engine, queue)
    assert aside()[loop, bad].failures == 1, "it waits for its next try"
    for failures in (2, 3):
        time_passes()
        maintenance.tick(engine, queue)
        assert aside()[loop, bad].failures == failures
    with engine.connect() as connection:
        pause = connection.execute(
            select(tables.quarantine.c.next_at - tables.quarantine.c.failed_at)
        ).scalar_one()
    assert pause == timedelta(seconds=20), "5, 10, 20, ..."
    change(engine, bad, phase=None, error_code=None)
    time_passes()
    maintenance.tick(engine, queue)
    assert aside() == {}
    assert statuses(engine, [bad]) == [ended]


def claim(engine):
    with engine.begin() as connection:
        return attempts.claim(connection, worker="w", lease=timedelta(seconds=9))


def test_a_job_that_cannot_be_claimed_keeps_no_worker_from_the_next(
    engine, queue, aside, time_passes
):
    bad, good = queued(engine, 2)
    change(engine, bad, error_code="x", error_kind=None)
    assert claim(engine).id == good
    assert claim(engine) is None
    assert aside()[Loop.CLAIM, bad].failures == 1
    maintenance.tick(engine, queue)
    assert statuses(engine, [bad]) == [JobStatus.QUEUED]
    change(engine, bad, error_code=None)
    time_passes()
    assert claim(engine).id == bad


def test_a_limit_of_any_size_stops_no_worker(engine):
    with engine.begin() as connection:
        projects.set_limits(connection, DEFAULT_PROJECT, Limits(running_jobs=10**30))
    assert running(engine, 2)
    assert statuses(engine, running(engine, 1)) == [JobStatus.RUNNING]


def test_items_set_aside_do_not_crowd_out_others(engine, queue, aside, monkeypatch):
    monkeypatch.setattr(maintenance, "BATCH", 2)
    *bad, good = running(engine, 3)
    for each in bad:
        change(engine, each, phase="no such phase", lease_expires_at=PAST - timedelta(hours=1))
    change(engine, good, lease_expires_at=PAST)
    maintenance.tick(engine, queue)
    later(engine)
    maintenance.tick(engine, queue)
    assert statuses(engine, [good]) == [JobStatus.QUEUED]
    assert len(aside()) == 2


def test_a_message_that_cannot_be_sent_keeps_no_other_from_the_broker(
    engine, queue, aside, time_passes
):
    ids = queued(engine, 3)
    # A queue whose key holds something else, an origin that is no map of texts.
    (other,) = queued(engine, worker_class="odd")
    queue._redis.set(queue_of("odd"), "not a list")
    change(engine, ids[0], origin=["no", "map"])
    maintenance.tick(engine, queue)
    assert queue.depth("cpu") == 2
    assert set(aside()) == {(Loop.RELAY, other), (Loop.RELAY, ids[0])}
    queue._redis.delete(queue_of("odd"))
    change(engine, ids[0], origin={})
    time_passes()
    maintenance.tick(engine, queue)
    assert (queue.depth("cpu"), queue.depth("odd"), aside()) == (3, 1, {})


def test_a_queue_that_cannot_be_asked_hides_no_other(engine, queue, aside):
    queued(engine, 2)
    queued(engine, 1, worker_class="odd")
    maintenance.tick(engine, queue)
    queue._redis.flushall()
    queue._redis.set(queue_of("odd"), "not a list")
    with engine.begin() as connection:
        connection.execute(update(tables.outbox).values(sent_at=PAST))
    maintenance.tick(engine, queue)
    assert queue.depth("cpu") == 2
    assert (Loop.RECOVER, "odd") in aside()


def test_a_broker_that_is_away_is_nobodys_fault(engine, aside):
    queued(engine, 3)
    away = CeleryQueue("redis://127.0.0.1:1/0")
    (dead,) = running(engine, 1)
    change(engine, dead, lease_expires_at=PAST)
    with pytest.raises(Exception, match="refused"):
        maintenance.tick(engine, away)
    away.close()
    assert aside() == {}
    assert statuses(engine, [dead]) == [JobStatus.QUEUED]


def test_a_round_that_fails_as_a_whole_keeps_no_other_loop_from_its_own(
    engine, queue, aside, time_passes, monkeypatch
):
    def breaks(*_, **__):
        raise ValueError("the statement of the whole batch\nand its parameters")

    with monkeypatch.context() as patch:
        patch.setattr(maintenance.leases, "all_expired", breaks)
        queued(engine)
        maintenance.tick(engine, queue)
    assert queue.depth("cpu") == 1
    found = aside()[Loop.REAP, ROUND]
    assert found.reason == "ValueError: the statement of the whole batch"
    time_passes()
    maintenance.tick(engine, queue)
    assert aside() == {}


@pytest.fixture
def tidy(engine, settings):
    store = open_store(settings.storage.dir)
    kept = CheckpointStore(settings.checkpoints.dir)
    sets = DatasetStore(settings.storage.dir)
    return lambda: maintenance.tidy(engine, store, kept, sets)


def test_stray_files_stop_nothing_and_stay(settings, tidy, aside):
    places = [settings.storage.dir / each for each in ("staging", "published")]
    places.append(settings.checkpoints.dir)
    for place in places:
        (place / "lost+found").mkdir(parents=True)
        (place / ".DS_Store").write_bytes(b"\0")
        (place / "backup-7").mkdir()
    gone = [settings.storage.dir / "staging" / f"{new_id('job')}-1"]
    gone.append(settings.checkpoints.dir / new_id("job"))
    for each in gone:
        each.mkdir()
    tidy()
    assert aside() == {}
    assert [each for each in gone if each.exists()] == []
    for place in places:
        assert {each.name for each in place.iterdir()} == {"lost+found", ".DS_Store", "backup-7"}


def test_what_cannot_be_removed_is_set_aside_and_the_rest_goes(
    engine, settings, tidy, aside, time_passes, monkeypatch
):
    stuck, other = sorted(f"{new_id('job')}-1" for _ in range(2))
    staging = settings.storage.dir / "staging"
    for each in (stuck, other):
        (staging / each / "deep").mkdir(parents=True)
    real = os.rmdir

    def rmdir(path, **options):
        if stuck in os.fsdecode(path):
            raise PermissionError(13, "Permission denied", path)
        real(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    tidy()
    assert [each.name for each in staging.iterdir()] == [stuck]
    found = aside()[Loop.FILES, stuck]
    assert "Permission denied" in found.reason
    monkeypatch.undo()
    time_passes()
    tidy()
    assert (list(staging.iterdir()), aside()) == ([], {})


def test_a_directory_that_is_none_ends_nothing(settings, tidy, aside):
    settings.storage.dir.mkdir()
    (settings.storage.dir / "staging").write_text("a file")
    ended = settings.checkpoints.dir / new_id("job")
    ended.mkdir(parents=True)
    with pytest.raises(Exception, match="Not a directory"):
        tidy()
    assert not ended.exists()


def test_what_is_gone_is_forgotten(engine, tidy, aside):
    guard = Guard(engine)
    for item in ("gone", "here"):
        guard.set_aside(Loop.FILES, item, ValueError("x"))
    with engine.begin() as connection:
        query = update(tables.quarantine).where(tables.quarantine.c.item == "gone")
        connection.execute(query.values(next_at=PAST - timedelta(minutes=1)))
    tidy()
    assert set(aside()) == {(Loop.FILES, "here")}


def test_any_name_and_any_reason_can_be_noted(engine, aside):
    odd = "a\0b\ud800\n" + "x" * 1000
    Guard(engine).each(Loop.FILES, [odd], lambda _: (_ for _ in ()).throw(ValueError(odd)))
    ((loop, item),) = aside()
    assert (loop, item) == (Loop.FILES, printable(odd, 200))
    assert item.startswith("a\\x00b\\ud800\\n")


def test_health_and_metrics_count_what_is_set_aside_and_stay_ready(client, engine):
    guard = Guard(engine)
    guard.set_aside(Loop.RELAY, "job_secret", ValueError("a reason"))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["set_aside"] == {"relay": 1}
    assert "job_secret" not in answer.text
    lines = client.get("/metrics").text.splitlines()
    assert 'secateur_maintenance_set_aside{loop="relay"} 1.0' in lines
    assert 'secateur_maintenance_set_aside{loop="reap"} 0.0' in lines
    guard.release(Loop.RELAY, "job_secret")
    assert client.get("/readyz").json()["set_aside"] == {}
