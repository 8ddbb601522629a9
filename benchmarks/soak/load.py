"""Clients that ask: submits, reads, downloads, uploads, and webhooks of two projects."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from benchmarks.soak.notes import Notes
from tests.chaos.ledger import Ledger
from tests.chaos.receivers import MANNERS, Bad, Good
from tests.chaos.world import Client, World

SUBMIT, READ, UPLOAD, DELIVER = 1.5, 0.2, 2.0, 5.0  # seconds between two requests of a kind
DEEP = 10  # one job in so many takes long
KNOWN = 50  # jobs that readers choose from


def submits(ledger: Ledger, notes: Notes) -> None:
    """A job now and then; mostly short ones."""
    for number in _every(SUBMIT, notes):
        kind = "deep" if number % DEEP == 0 else random.choice(("quick", "pair"))
        with notes.timed("submit"):
            notes.jobs.append(ledger.submit(kind))
            del notes.jobs[:-KNOWN]


def reads(client: Client, notes: Notes) -> None:
    """Lists, jobs, events, plans and files, of jobs that run and of jobs that have ended."""
    asked: list[Callable[[str], str]] = [
        lambda _: "/v1/jobs?limit=20",
        lambda _: "/v1/jobs?status=succeeded&limit=5",
        lambda job: f"/v1/jobs/{job}",
        lambda job: f"/v1/jobs/{job}/events?limit=100",
        lambda job: f"/v1/jobs/{job}/artifacts",
        lambda _: "/v1/methods",
        lambda _: "/v1/project",
        lambda _: "/readyz",
    ]
    for number in _every(READ, notes):
        if not notes.jobs:
            continue
        path = random.choice(asked)(random.choice(notes.jobs))
        with notes.timed("read"):
            _well(client, "GET", path)
        if number % 20 == 0:
            with notes.timed("download"):
                _download(client, notes.jobs[0])


def uploads(client: Client, notes: Notes) -> None:
    """Data sets that come and go; one in four is refused."""
    for number in _every(UPLOAD, notes):
        rows = [{"text": f"row {number} {i} {random.random()}"} for i in range(1000)]
        body = "".join(json.dumps(row) + "\n" for row in rows)
        with notes.timed("upload"):
            if number % 4 == 0:
                answer = client.ask("POST", "/v1/datasets", content=body + "{")
                if answer.status_code // 100 != 4:
                    raise RuntimeError(f"{answer.status_code}: {answer.text}")
                continue
            made = client.ask("POST", "/v1/datasets", content=body)
            _well(client, "DELETE", f"/v1/datasets/{made.json()['id']}")


def deliveries(ledger: Ledger, victim: Client, good: Good, notes: Notes) -> None:
    """Jobs of a project whose receiver is quick; how long after the end it hears of it."""
    for _ in _every(DELIVER, notes):
        with notes.timed("submit"):
            job_id = ledger.submit("quick", by=victim)
        deadline = time.monotonic() + 60
        with notes.timed("delivery"):
            while (arrived := good.arrived.get((job_id, "job.succeeded"))) is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nobody was told of {job_id} within a minute")
                time.sleep(0.05)
            ended = datetime.fromisoformat(victim.get(f"/v1/jobs/{job_id}")["finished_at"])
        notes.seconds["delivery"] = [
            *notes.seconds["delivery"][:-1],
            arrived - ended.timestamp(),
        ]


def attack(ledger: Ledger, attacker: Client, notes: Notes) -> None:
    """Jobs of a project whose receivers are slow."""
    for _ in _every(DELIVER, notes):
        with notes.timed("submit"):
            ledger.submit("quick", by=attacker)


@contextmanager
def loading(world: World, ledger: Ledger, notes: Notes) -> Iterator[None]:
    """Everything of this module side by side, until the notes say that it ends."""
    attacker, victim = world.root.project("attacker"), world.root.project("victim")
    with ExitStack() as stack:
        for manner in MANNERS:
            _listen(attacker, stack.enter_context(Bad(manner)).url)
        good = stack.enter_context(Good())
        _listen(victim, good.url)
        parts = [
            threading.Thread(target=part, args=given, name=part.__name__)
            for part, *given in (
                (submits, ledger, notes),
                (reads, world.root, notes),
                (reads, Client(world, world.root.key), notes),
                (uploads, Client(world, world.root.key), notes),
                (deliveries, ledger, victim, good, notes),
                (attack, ledger, attacker, notes),
            )
        ]
        for part in parts:
            part.start()
        yield
        for part in parts:
            part.join()


def _every(seconds: float, notes: Notes) -> Iterator[int]:
    number = 0
    while notes.going_on:
        yield number
        number += 1
        time.sleep(random.uniform(0.5, 1.5) * seconds)


def _well(client: Client, method: str, path: str) -> bytes:
    answer = client.ask(method, path)
    if not answer.is_success:
        raise RuntimeError(f"{path}: {answer.status_code}: {answer.text}")
    return answer.content


def _download(client: Client, job_id: str) -> None:
    files = client.get(f"/v1/jobs/{job_id}/artifacts").get("artifacts", [])
    for file in files[:3]:
        content = _well(client, "GET", f"/v1/jobs/{job_id}/artifacts/{file['path']}")
        if len(content) != file["size"]:
            raise RuntimeError(f"{file['path']} of {job_id} has {len(content)} bytes")


def _listen(client: Client, url: str) -> None:
    events = ["job.queued", "job.running", "job.succeeded"]
    client.ask("POST", "/v1/webhooks", json={"url": url, "events": events})
