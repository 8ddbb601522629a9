"""`secateur doctor`: all that the service needs on this machine, looked at."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httpx2
import typer
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.cli.client import AsJson
from app.cli.console import Exit, table, tell
from app.cli.service import DataDir
from app.cli.settings import database_url, load_settings
from app.db import quarantine, worker_processes
from app.db.engine import make_engine
from app.errors import StorageUnavailableError
from app.local.installation import url_file
from app.local.process import LocalError
from app.settings import Settings
from app.storage.store import open_store

SHOWN = 10  # items that maintenance has set aside, and workers
LITTLE = 10 << 30  # bytes of free disk below which a large model may not fit

# Importing torch takes seconds, and this process may have none: another one tells.
_DEVICES = """
import torch, transformers
found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
versions = f"torch {torch.__version__}", f"transformers {transformers.__version__}"
print(*versions, ", ".join(found) or "CPU only", sep="; ")
"""


class Finding(NamedTuple):
    """What one look showed, and what to do where something is wrong."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look at all that the service needs on this machine; exit code 1 where something is wrong."""
    findings = list(examine(load_settings(data_dir)))
    rows = table("", "", "", header=False)
    for found in findings:
        rows.add_row(found.name, "ok" if found.ok else "WRONG", found.detail)
        if found.advice:
            rows.add_row("", "", f"-> {found.advice}")
    tell({found.name: found._asdict() for found in findings}, rows, as_json=as_json)
    if not all(found.ok for found in findings):
        raise typer.Exit(Exit.FAILED)


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding; a look that fails does not keep the others from being made."""
    looks: dict[str, Callable[[Settings], str]] = {
        "database": _database,
        "migrations": _migrations,
        "broker": _broker,
        "store": _store,
        "maintenance": _maintenance,
        "models": _models,
        "disk": _disk,
        "torch": _torch,
        "service": _service,
        "worker": _worker,
    }
    for name, look in looks.items():
        try:
            yield Finding(name, True, look(settings))
        except _WrongError as wrong:
            yield Finding(name, False, wrong.detail, wrong.advice)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            yield Finding(name, False, f"{place}{error.strerror or error}")


class _WrongError(Exception):
    """What a look found wrong."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.detail, self.advice = detail, advice


_STARTING = 20.0  # seconds in which a worker that was just started has imported what it needs
_NAME_A_DATABASE = "start `secateur up`, or name a PostgreSQL in SECATEUR_DATABASE__URL"


def _database(settings: Settings) -> str:
    try:
        engine = make_engine(database_url(settings))
    except LocalError as error:
        raise _WrongError(str(error), _NAME_A_DATABASE) from error
    try:
        with engine.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar_one()
            return f"PostgreSQL {version}"
    except DBAPIError as error:
        raise _WrongError(_first_line(error.orig or error), _NAME_A_DATABASE) from error
    finally:
        engine.dispose()


def _migrations(settings: Settings) -> str:
    from app.db import migrate as migrations  # noqa: PLC0415  as above

    try:
        engine = make_engine(database_url(settings))
    except LocalError as error:
        raise _WrongError("the database is away", _NAME_A_DATABASE) from error
    try:
        with engine.connect() as connection:
            if not migrations.is_migrated(connection):
                raise _WrongError("the schema is not the newest", "run `secateur migrate`")
    except SQLAlchemyError as error:
        raise _WrongError("the database is away", _NAME_A_DATABASE) from error
    finally:
        engine.dispose()
    return "at the newest"


def _broker(settings: Settings) -> str:
    if "url" not in settings.queue.model_fields_set:
        return "`secateur up` starts its own"
    try:
        with Redis.from_url(settings.queue.url, socket_timeout=3) as client:
            return f"answers, version {client.info('server')['redis_version']}"
    except RedisError as error:
        advice = "name a running Redis or Valkey in SECATEUR_QUEUE__URL, or unset it"
        raise _WrongError(_first_line(error), advice) from error


def _store(settings: Settings) -> str:
    kept = settings.storage
    try:
        open_store(kept.dir, kept.url, kept.endpoint).check()
    except StorageUnavailableError as error:
        advice = (
            "look at SECATEUR_STORAGE__URL, SECATEUR_STORAGE__ENDPOINT, AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_REGION, and whether the bucket is there"
            if kept.url
            else "make SECATEUR_STORAGE__DIR a directory that this account may write to"
        )
        raise _WrongError(str(error), advice) from error
    return kept.url or str(kept.dir)


def _from_database(settings: Settings, look: Callable[[Connection], str]) -> str:
    """What is told of the database; that it is away is found by another look."""
    try:
        engine = make_engine(database_url(settings))
    except LocalError:
        return "nothing is known while the database is away"
    try:
        with engine.connect() as connection:
            return look(connection)
    except SQLAlchemyError:
        return "nothing is known while the database is away"
    finally:
        engine.dispose()


def _maintenance(settings: Settings) -> str:
    return _from_database(settings, _set_aside)


def _set_aside(connection: Connection) -> str:
    """What maintenance has set aside."""
    aside = quarantine.counts(connection)
    newest = quarantine.newest(connection, limit=SHOWN)
    if not aside:
        return "nothing is set aside"
    lines = [
        f"{each.loop}: {each.item} failed {each.failures} times, the last time at "
        f"{each.failed_at:%Y-%m-%d %H:%M:%S} UTC: {each.reason}"
        for each in newest
    ]
    counted = ", ".join(f"{loop} {count}" for loop, count in aside.items())
    raise _WrongError(
        "\n".join([f"set aside, and tried again later: {counted}", *lines]),
        "look at the log of maintenance for what each of them met",
    )


def _models(settings: Settings) -> str:
    roots = settings.models.roots
    token = "HF_TOKEN" in os.environ
    shared = settings.models.shared_hub_token
    # The default one is made by `secateur up`.
    default = settings.data_dir / "models"
    if missing := [str(root) for root in roots if root != default and not root.is_dir()]:
        advice = "make them, or correct SECATEUR_MODELS__ROOTS"
        raise _WrongError(f"no directories: {', '.join(missing)}", advice)
    told = ", ".join(map(str, roots))
    if shared:
        return f"{told}; WARNING: jobs of every project may use the hub token of this machine"
    if token:
        return f"{told}; HF_TOKEN is set and not used: SECATEUR_MODELS__SHARED_HUB_TOKEN is not"
    return told


def _disk(settings: Settings) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.data_dir).free
    text = f"{free / 2**30:.0f} GiB free in {settings.data_dir}"
    if free < LITTLE:
        advice = (
            "free some, or put SECATEUR_DATA_DIR on a larger disk: staging takes a model's size"
        )
        raise _WrongError(text, advice)
    return text


def _torch(_: Settings) -> str:
    if importlib.util.find_spec("torch") is None:
        return "not installed, so no worker can run here: pip install 'secateur[worker]'"
    done = subprocess.run(  # noqa: S603  our own text, our own interpreter
        [sys.executable, "-P", "-c", _DEVICES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["torch does not import"])[-1]
        raise _WrongError(last, "pip install 'secateur[worker]' anew")
    return done.stdout.strip().splitlines()[-1]


def _service(settings: Settings) -> str:
    kept = url_file(settings.data_dir)  # `up --port` is in no setting of this process
    url = kept.read_text().strip() if kept.exists() else settings.api.url
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=5, trust_env=False)
        checks = answer.json()["checks"]
    except (httpx2.TransportError, ValueError, KeyError):
        return f"none answers at {url}; `secateur up` starts one"
    wrong = ", ".join(f"{name} {state}" for name, state in checks.items() if state != "ok")
    if wrong:
        raise _WrongError(f"{url} is not ready: {wrong}", "look at the log of its API")
    return f"ready at {url}"


def _worker(settings: Settings) -> str:
    telemetry = settings.telemetry
    if not telemetry.metrics_port:
        return _from_database(settings, _heard_of)
    url = f"http://{telemetry.metrics_host}:{telemetry.metrics_port}"
    until = time.monotonic() + _STARTING
    while True:
        try:
            answer = httpx2.get(f"{url}/readyz", timeout=5, trust_env=False)
        except httpx2.TransportError:
            return f"none answers at {url}"
        if answer.is_success:
            return f"ready at {url}"
        if time.monotonic() > until:
            raise _WrongError(answer.text.strip(), "it takes no jobs, and tries again by itself")
        time.sleep(0.5)


def _heard_of(connection: Connection) -> str:
    """What the database knows of the service's workers, on this machine and on others."""
    found = worker_processes.listing(connection, project_id="")
    told = ", ".join(f"{each.name} {each.state}" for each in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{told}{more}" if found else "none was heard of within an hour: jobs wait"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
