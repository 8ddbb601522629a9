"""Messages on the broker that nobody of the service has sent, or that it has sent before."""

import base64
import json
import pickle
import uuid

import pytest
from kombu.compression import compress
from redis import Redis

from app.domain.jobs import DEFAULT_CLASS
from app.queue import HELP, TASK, CeleryQueue, queue_of

QUEUE = queue_of(DEFAULT_CLASS)
BROADCASTS = ("/0.celery.pidbox", "/0.celeryev/worker.heartbeat")
HUGE = 32 << 20  # bytes


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def envelope(content, task=TASK, **changes):
    """A message as kombu keeps it in a list, with whatever body."""
    number = str(uuid.uuid4())
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    message = {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": number, "root_id": number, "retries": 0},
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": number,
            "body_encoding": "base64",
            "priority": 0,
        },
    }
    return json.dumps(message | changes).encode()


def body(*arguments, **named):
    return [arguments, named, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def forgeries(file):
    """Everything that should do nothing at all; none of it may write the file."""
    good = json.loads(envelope(body("job_0")))
    packed, how = compress(b"0" * HUGE, "zlib")
    return {
        "no JSON": b"\x00\xffgarbage",
        "no object": b"[1, 2, 3]",
        "a number": b"17",
        "null": b"null",
        "empty": b"",
        "nothing in it": b"{}",
        "no properties": json.dumps({k: good[k] for k in good if k != "properties"}).encode(),
        "no headers": json.dumps(good | {"headers": {}}).encode(),
        "headers null": json.dumps(good | {"headers": None}).encode(),
        "deep": b"[" * 100_000 + b"]" * 100_000,
        "unknown task": envelope(body("job_0"), task="os.system"),
        "task is a number": envelope(body("job_0"), task=7),
        "body not base64": envelope(b"", body="%%%"),
        "body no JSON": envelope(b"garbage"),
        "body a string": envelope("garbage"),
        "body an object": envelope({"args": [1]}),
        "no arguments": envelope(body()),
        "too many arguments": envelope(body("a", "b", "c")),
        "strange arguments": envelope(body({"a": [None]})),
        "named arguments": envelope(body("job_0", worker="x")),
        "wrong id": envelope(body("job_ffffffffffffffffffffffffffffffff")),
        "id with a path": envelope(body("../../../etc/passwd")),
        "long id": envelope(body("x" * HUGE)),
        "pickled": envelope(
            pickle.dumps(Bomb(file)), **{"content-type": "application/x-python-serialize"}
        ),
        "yaml": envelope(
            b"!!python/object/apply:os.getcwd []", **{"content-type": "application/x-yaml"}
        ),
        "unknown content type": envelope(b"x", **{"content-type": "application/x-nothing"}),
        "compressed": envelope(packed, headers=good["headers"] | {"compression": how}),
        "help for nobody": envelope(body("job_ffffffffffffffffffffffffffffffff"), task=HELP),
        "an eta far away": json.dumps(
            good | {"headers": good["headers"] | {"eta": "9999-12-31T23:59:59"}}
        ).encode(),
        "an eta that is none": json.dumps(
            good | {"headers": good["headers"] | {"eta": "soon"}}
        ).encode(),
        "expired": json.dumps(
            good | {"headers": good["headers"] | {"expires": "1970-01-01T00:00:00"}}
        ).encode(),
    }


@pytest.fixture
def broker(world):
    with Redis.from_url(world.valkey.url) as redis:
        yield redis


def test_forged_messages_do_nothing(world, ledger, broker, draw, rounds, tmp_path):
    file = tmp_path / "written-by-a-pickle"
    left = broker.hlen("unacked")  # of workers that were killed or cut off before
    for _ in range(rounds):
        forged = list(forgeries(file).items())
        draw.shuffle(forged)
        jobs = [ledger.submit("quick")]
        for _, message in forged:
            broker.lpush(QUEUE, message)
            for channel in BROADCASTS:
                broker.publish(channel, message)
        jobs.append(ledger.submit("pair"))
        ended = ledger.finish(*jobs)
        assert [job["attempt"] for job in ended] == [1, 1]
    assert not file.exists()
    assert world.until(lambda: broker.llen(QUEUE) == 0)
    few = left + len(world.workers)
    assert world.until(lambda: broker.hlen("unacked") <= few), "what was taken is acknowledged"


def test_doubled_messages_start_nothing_twice(world, ledger, draw, rounds):
    queue = CeleryQueue(world.valkey.url)
    for _ in range(rounds):
        jobs = [ledger.submit(kind) for kind in ("deep", "quick", "pair")]
        for job_id in draw.choices(jobs, k=40):
            queue.send(job_id, DEFAULT_CLASS, {})
            queue.call_for_help(job_id, DEFAULT_CLASS)
        ended = ledger.finish(*jobs)
        assert [job["attempt"] for job in ended] == [1, 1, 1]
        for job_id in jobs:  # and again, when there is nothing to do any more
            queue.send(job_id, DEFAULT_CLASS, {})
    queue.close()
