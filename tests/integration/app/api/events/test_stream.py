"""Server-sent events: complete, resumable, ending, and without a connection each."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.domain.jobs import EventType, NewEvent, Phase

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def settings(settings):
    api = settings.api.model_copy(update={"keep_alive_seconds": 0.2})
    return settings.model_copy(update={"api": api})


@pytest.fixture
def job_id(remote):
    return remote.post("/v1/jobs", json=JOB).json()["id"]


def watch(remote, job_id, headers=None, seen=None):
    """All messages of one stream, from its beginning to its end."""
    seen = [] if seen is None else seen
    path, headers = f"/v1/jobs/{job_id}/events", SSE | (headers or {})
    with remote.stream("GET", path, headers=headers, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields = {}
        for line in answer.iter_lines():
            if line.startswith(":"):
                seen.append(line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                seen.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
    return seen


def events(seen):
    return [message for message in seen if not isinstance(message, str)]


def test_a_stream_has_what_the_list_has_and_ends(remote, worker, job_id):
    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(watch, remote, job_id)
        time.sleep(0.7)
        job = worker.claim()
        for number in range(5):
            log = [NewEvent(EventType.BLOCK, f"block {number}")] * 3
            worker.heartbeat(job, Phase.PRUNING, 0.5, log)
        worker.succeed(job)
        seen = watching.result(timeout=10)
    listed = remote.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [message[2] for message in events(seen)] == listed
    assert len(listed) == 2 + 15 + 1
    assert [message[0] for message in events(seen)] == [event["id"] for event in listed]
    assert ": keep-alive" in seen


def test_a_stream_goes_on_after_the_last_id(remote, worker, job_id):
    worker.succeed(worker.claim())
    everything = watch(remote, job_id)
    rest = watch(remote, job_id, {"Last-Event-ID": str(everything[0][0])})
    assert rest == everything[1:]
    last = SSE | {"Last-Event-ID": str(everything[-1][0])}
    assert remote.get(f"/v1/jobs/{job_id}/events", headers=last).status_code == 204


def test_many_watchers_miss_nothing_and_hold_no_connection(remote, worker, job_id):
    with ThreadPoolExecutor(60) as pool:
        watching = [pool.submit(watch, remote, job_id) for _ in range(60)]
        job = worker.claim()
        for number in range(20):
            log = [NewEvent(EventType.BLOCK, f"block {number}")]
            worker.heartbeat(job, Phase.PRUNING, 0.5, log)
        started = time.monotonic()
        assert remote.get("/v1/jobs").status_code == 200
        assert time.monotonic() - started < 2
        worker.succeed(job)
        seen = [events(future.result(timeout=20)) for future in watching]
    assert all(len(one) == 2 + 20 + 1 for one in seen)
    assert all(one == seen[0] for one in seen)


def test_two_processes_tell_of_each_others_events(remote, client, job_id):
    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(watch, remote, job_id)
        time.sleep(0.3)
        client.post(f"/v1/jobs/{job_id}/cancel")
        last = events(watching.result(timeout=10))[-1]
    assert (last[1], last[2]["message"]) == ("status", "cancelled")


def test_a_broken_listener_comes_back(remote, worker, job_id, engine):
    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(watch, remote, job_id)
        time.sleep(0.3)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE starts_with(query, 'LISTEN') AND datname = current_database()"
            )
        worker.succeed(worker.claim())
        assert events(watching.result(timeout=10))[-1][2]["message"] == "succeeded"
