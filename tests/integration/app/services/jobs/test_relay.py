"""Outbox, relay and recovery on the real database and broker."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db import outbox, tables
from app.maintenance import tick
from app.queue import CeleryQueue, queue_of
from app.services.jobs import attempts
from tests.integration.app.rows import new_job


def queued(engine, count=1):
    with engine.begin() as connection:
        made = [new_job(connection, max_attempts=2) for _ in range(count)]
        for job in made:
            outbox.add(connection, job)
    return [job.id for job in made]


def age(engine, seconds):
    with engine.begin() as connection:
        past = func.now() - timedelta(seconds=seconds)
        connection.execute(update(tables.outbox).values(sent_at=past))


def unsent(engine):
    query = select(func.count()).select_from(tables.outbox).where(tables.outbox.c.sent_at.is_(None))
    with engine.begin() as connection:
        return connection.execute(query).scalar_one()


@pytest.mark.parametrize("of_before", [None, "gone"])  # queued by it, or moved by it
def test_messages_of_the_version_before_wait_like_others(engine, of_before):
    first, _ = queued(engine, 2)
    with engine.begin() as connection:
        theirs = update(tables.outbox).where(tables.outbox.c.job_id == first)
        sooner = func.now() - timedelta(minutes=1)
        connection.execute(theirs.values(worker_class=of_before, due_at=sooner))
        assert outbox.adopt(connection, limit=9) == 1
        assert outbox.adopt(connection, limit=9) == 0
        assert attempts.claim(connection, worker="w", lease=timedelta(seconds=9)).id == first


def test_messages_are_sent_once(engine, queue):
    queued(engine, 450)
    tick(engine, queue)
    tick(engine, queue)
    assert (queue.depth("cpu"), unsent(engine)) == (450, 0)


def test_a_claimed_job_leaves_the_outbox(engine, queue):
    queued(engine)
    tick(engine, queue)
    with engine.begin() as connection:
        attempts.claim(connection, worker="w", lease=timedelta(seconds=9))
        assert connection.execute(select(tables.outbox)).all() == []


def test_a_broker_that_lost_its_memory_is_told_again(engine, queue):
    queued(engine, 3)
    tick(engine, queue)
    queue._redis.flushall()
    tick(engine, queue)
    assert queue.depth("cpu") == 0, "a message on its way is given some time"
    age(engine, 10)
    tick(engine, queue)
    assert queue.depth("cpu") == 3


def test_waiting_messages_are_not_sent_again(engine, queue):
    queued(engine, 3)
    tick(engine, queue)
    age(engine, 10)
    tick(engine, queue)
    assert queue.depth("cpu") == 3


def test_a_message_the_broker_does_not_take_stays(engine):
    away = CeleryQueue("redis://127.0.0.1:1/0")
    queued(engine)
    with pytest.raises(Exception, match="refused"):
        tick(engine, away)
    assert unsent(engine) == 1
    away.close()


def test_the_message_is_the_job_id(engine, queue):
    (job_id,) = queued(engine)
    tick(engine, queue)
    assert job_id in queue._redis.lindex(queue_of("cpu"), 0).decode()


def test_each_class_has_a_queue_and_loses_its_messages_alone(engine, queue):
    queued(engine, 2)
    with engine.begin() as connection:
        job = new_job(connection, max_attempts=2, worker_class="gpu")
        outbox.add(connection, job)
    tick(engine, queue)
    assert (queue.depth("cpu"), queue.depth("gpu")) == (2, 1)
    queue._redis.delete(queue_of("gpu"))
    age(engine, 10)
    tick(engine, queue)
    assert (queue.depth("cpu"), queue.depth("gpu")) == (2, 1)
