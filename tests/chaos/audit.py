"""What a disturbance has left: jobs, files, processes, memory."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import psutil
from sqlalchemy import Connection, text
from typer.testing import CliRunner

from app.cli.main import app as secateur
from tests.chaos.ledger import ENDS, Ledger, Sent
from tests.chaos.world import World

Digests = dict[str, str]

LEAVING = 30.0  # seconds that a process whose parent was killed may take to end
SETTLED, GOING = 16.0, 60.0  # MiB more that are not waited for; seconds
ASKED = 20  # requests between two looks
SMALL = 1 << 20  # bytes that a process that was killed may leave as a temporary file

JOBS = text("SELECT id, status, attempt, error_code, labels ->> 'chaos' AS token FROM jobs")
EVENTS = text("SELECT subject_id, attempt, message FROM events WHERE type = 'status'")
ARTIFACTS = text("SELECT job_id, attempt, path, sha256 FROM artifacts")


@dataclass
class Findings:
    """What an audit found, a sentence each."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    unexpected_5xx: list[str] = field(default_factory=list)
    processes_left: list[str] = field(default_factory=list)
    files_left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """All of them, one a line."""
        lines = [
            f"{each.name}: {what}" for each in fields(self) for what in getattr(self, each.name)
        ]
        return "\n".join(lines)


def digests(world: World, job_id: str) -> Digests:
    """SHA-256 of a job's files, by path, as its row has them."""
    with world.engine.connect() as connection:
        return _files(connection)[job_id]


def audit(ledger: Ledger, references: dict[str, Digests]) -> Findings:
    """Wait for what was asked, put everything right, and look.

    Args:
        ledger: what was asked; empty afterwards.
        references: files of an undisturbed run, by kind.
    """
    world, found = ledger.world, Findings()
    world.heal()
    _settle(ledger)
    collected = CliRunner().invoke(secateur, ["gc"], env=world.settings.environment())
    assert collected.exit_code == 0, collected.output
    with world.engine.connect() as connection:
        _jobs(connection, ledger.sent, found)
        files = _files(connection)
    for sent in ledger.sent:
        _compare(world, sent, files[sent.id], references, found)
    found.unexpected_5xx, world.unexpected = world.unexpected, []
    found.processes_left = _left_running(world)
    found.files_left = _left(world, ledger.sent)
    for sent in ledger.sent:  # the disk is small
        sent.by.ask("DELETE", f"/v1/jobs/{sent.id}")
    ledger.sent = []
    return found


def living(world: World) -> set[int]:
    """Processes of the service that are meant to be there."""
    return {each.pid for name in world.processes for each in world.family(name)}


def orphans(directory: Path, known: Iterable[int]) -> list[str]:
    """Processes that belong to the service's directory and to nobody who looks after them."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.pid in known or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        try:
            named = any(str(directory) in part for part in process.info["cmdline"] or ())
            ours = process.environ().get("SECATEUR_DATA_DIR") == str(directory)
        except psutil.Error:
            continue
        if named or ours:
            found.append(f"{process.pid}: {' '.join(process.info['cmdline'])}")
    return found


def _left_running(world: World) -> list[str]:
    """Orphans that do not end by themselves: a watchdog needs seconds to start, and to see it."""

    def left() -> list[str]:
        return orphans(world.directory, living(world))

    with suppress(AssertionError):
        world.until(lambda: not left(), LEAVING)
    return left()


def resident(world: World) -> dict[str, float]:
    """Resident memory in MiB of what runs for long."""
    names = [name for name in world.processes if name != "postgres"]
    return {name: world.process(name).memory_info().rss / 2**20 for name in names}


def growth(world: World, before: dict[str, tuple[int, float]]) -> dict[str, tuple[float, float]]:
    """MiB before and after, of every process that is the same one still.

    What clients that stall made the service hold goes with its garbage, of which an idle service
    makes none: it is asked for something while that is waited for.
    """

    def grown() -> dict[str, tuple[float, float]]:
        return {
            name: (before[name][1], size)
            for name, size in resident(world).items()
            if before[name][0] == world.process(name).pid
        }

    def settled() -> bool:
        for _ in range(ASKED):
            world.root.get("/v1/jobs", limit=10)
        return all(size - had < SETTLED for had, size in grown().values())

    with suppress(AssertionError):
        world.until(settled, GOING)
    return grown()


def _settle(ledger: Ledger) -> None:
    """Wait until every job has ended; one that does not is found lost later."""
    ids = {sent.id for sent in ledger.sent}

    def ended() -> bool:
        with ledger.world.engine.connect() as connection:
            rows = connection.execute(JOBS).mappings().all()
        return not any(row["id"] in ids and row["status"] not in ENDS for row in rows)

    with suppress(AssertionError):
        ledger.world.until(ended)


def _jobs(connection: Connection, asked: list[Sent], found: Findings) -> None:
    rows = {row["id"]: row for row in connection.execute(JOBS).mappings()}
    tokens = Counter(row["token"] for row in rows.values() if row["token"])
    attempts: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for event in connection.execute(EVENTS).mappings():
        attempts[event["subject_id"]][event["message"], event["attempt"]] += 1
    for sent in asked:
        row = rows.get(sent.id)
        if row is None:
            found.lost.append(f"{sent.id} is not in the database")
            continue
        if row["status"] not in sent.ends:
            found.lost.append(f"{sent.id} is {row['status']} {row['error_code'] or ''}")
        if tokens[row["token"]] != 1:
            found.doubled.append(f"{sent.id} was submitted once and is {tokens[row['token']]} jobs")
        said = attempts[sent.id]
        if sum(n for (message, _), n in said.items() if message == "succeeded") > 1:
            found.doubled.append(f"{sent.id} succeeded twice")
        if any(n > 1 for (message, _), n in said.items() if message == "running"):
            found.doubled.append(f"{sent.id} was claimed twice as one attempt")


def _files(connection: Connection) -> dict[str, Digests]:
    files: dict[str, Digests] = defaultdict(dict)
    for row in connection.execute(ARTIFACTS).mappings():
        files[row["job_id"]][row["path"]] = row["sha256"]
    return files


def _compare(
    world: World, sent: Sent, files: Digests, references: dict[str, Digests], found: Findings
) -> None:
    published = list((world.settings.storage.dir / "published").glob(f"{sent.id}-*"))
    if len(published) > (1 if files else 0):
        found.doubled.append(f"{sent.id} has files of {len(published)} attempts")
    for directory in published if files else ():
        for path, digest in files.items():
            content = (directory / path).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                found.differing.append(f"{sent.id}: {path} is not what its row says")
    if files and sent.kind in references:
        expected = references[sent.kind]
        different = [path for path in expected | files if expected.get(path) != files.get(path)]
        found.differing += [f"{sent.id}: {path} is not as undisturbed" for path in different]


def _left(world: World, asked: list[Sent]) -> list[str]:
    """What jobs that ended, and requests, have left on disk."""
    kept = world.settings
    ids = {sent.id for sent in asked}
    staged = (kept.storage.dir / "staging").glob("*")
    left = [path for path in staged if path.name.rpartition("-")[0] in ids]
    left += [path for path in kept.checkpoints.dir.glob("*") if path.name in ids]
    left += [
        path
        for path in world.temporary.rglob("*")
        if path.is_file() and path.lstat().st_size > SMALL
    ]
    return [str(path.relative_to(world.directory)) for path in left]
