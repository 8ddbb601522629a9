"""A whole Secateur on this machine: servers, API, maintenance and a worker, as child processes."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from sqlalchemy.exc import OperationalError

from app.db.engine import make_engine
from app.local.postgres import Postgres
from app.local.process import LocalError, Process, end_leftovers, python_program
from app.local.supervisor import Supervisor
from app.local.valkey import Valkey
from app.local.workers import worker_programs
from app.services.projects.service import create_first_key
from app.settings import Settings

DATABASE = "secateur"


@dataclass(frozen=True)
class Installation:
    """What runs, and how to look after it.

    Attributes:
        settings: those the processes run with.
        url: address of the API.
        key: an API key; None where keys exist and this machine has none of them.
        key_file: where the key of this machine is kept.
        tend: waits some seconds while dead processes are started again.
    """

    settings: Settings
    url: str
    key: str | None
    key_file: Path
    tend: Callable[[float], None]


@contextmanager
def installation(
    settings: Settings, *, report: Callable[[str], None], workers: int = 1
) -> Iterator[Installation]:
    """Start everything that the settings do not place elsewhere; stop it at the end.

    Raises:
        LocalError: something does not start; the message says what to do.
        Stopped: a signal came while starting.
    """
    # Alembic takes a second to import; the commands that only talk HTTP do without.
    from app.db import migrate  # noqa: PLC0415  see above

    data_dir, api = settings.data_dir, settings.api
    with (
        _private(settings),
        _sole_user_of(data_dir),
        Supervisor(report) as supervisor,
        ExitStack() as files,
    ):
        end_leftovers(data_dir)
        _check_free(api.host, api.port)
        placed = _with_servers(settings, supervisor, files)
        database_url = placed.database.url
        report("bringing the database to the newest schema")
        try:
            migrate.upgrade(database_url)
        except OperationalError as error:
            raise LocalError(f"the database cannot be used: {error.orig}") from error
        key_file = data_dir / "key"
        key = _first_key(database_url, key_file)
        for process in _processes(placed, workers):
            supervisor.run(process)
        files.enter_context(_kept(url_file(data_dir), api.url))
        yield Installation(placed, api.url, key, key_file, supervisor.tend)


def _with_servers(settings: Settings, supervisor: Supervisor, files: ExitStack) -> Settings:
    """The settings with a database and a broker: those they name, or such as are started here."""
    database_url, queue_url = settings.database.url, settings.queue.url
    if "url" not in settings.database.model_fields_set:
        database_url = _start_postgres(supervisor, settings.data_dir)
    if "url" not in settings.queue.model_fields_set:
        valkey = Valkey(settings.data_dir)
        supervisor.run(valkey)
        queue_url = valkey.url
        files.enter_context(_kept(broker_file(settings.data_dir), queue_url))
    return settings.model_copy(
        update={
            "database": settings.database.model_copy(update={"url": database_url}),
            "queue": settings.queue.model_copy(update={"url": queue_url}),
        }
    )


def _processes(settings: Settings, workers: int) -> Iterator[Process]:
    """API, maintenance and workers, in the order of their start."""
    telemetry = settings.telemetry
    programs = worker_programs(settings, workers) if workers else []
    # The API answers Prometheus at its own port on this machine.
    unmeasured = telemetry.model_copy(update={"metrics_port": 0})
    yield Api(settings.model_copy(update={"telemetry": unmeasured}))
    # Two processes of this machine answer Prometheus: the worker at the port of the settings,
    # maintenance at the next.
    port = telemetry.metrics_port
    next_port = {"SECATEUR_TELEMETRY__METRICS_PORT": str(port + 1 if port else 0)}
    environment = settings.environment() | next_port
    yield Process(
        python_program("maintenance", ["app.maintenance"], environment), settings.data_dir
    )
    for program in programs:
        yield Process(program, settings.data_dir)


@contextmanager
def _private(settings: Settings) -> Iterator[None]:
    """Make the data directory and what is in it private, also what an earlier version left open."""
    umask = int(settings.umask, 8)
    before = os.umask(umask)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if (models := settings.data_dir / "models") in settings.models.roots:
        models.mkdir(exist_ok=True)
    kept = settings.storage.dir, settings.checkpoints.dir, settings.models.hub_cache
    for directory in (settings.data_dir / "logs", settings.data_dir / "run", *kept):
        if directory.is_dir() and directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode & ~umask)
    try:
        yield
    finally:
        os.umask(before)


class Api(Process):
    """The HTTP server; ready once it answers that it is."""

    def __init__(self, settings: Settings, name: str = "api") -> None:
        program = python_program(name, ["app.main"], settings.environment())
        super().__init__(program, settings.data_dir)
        self._url = settings.api.url

    def ready(self) -> bool:
        """Whether it, and what it needs, can be used."""
        try:
            answer = httpx2.get(f"{self._url}/readyz", timeout=5, trust_env=False)
        except httpx2.TransportError:
            return False
        return answer.is_success


def _start_postgres(supervisor: Supervisor, data_dir: Path) -> str:
    server = Postgres(data_dir)
    supervisor.run(server)
    return (
        server.url(DATABASE) if server.has_database(DATABASE) else server.create_database(DATABASE)
    )


def _first_key(database_url: str, key_file: Path) -> str | None:
    """The key in `key_file`, or the first key of all, stored there for this account only."""
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:
            secret = create_first_key(connection)
            if secret is not None:
                _write_private(key_file, secret)
    finally:
        engine.dispose()
    return key_file.read_text().strip() if key_file.exists() else None


@contextmanager
def _kept(file: Path, url: str) -> Iterator[None]:
    """A URL in the data directory, for other commands of this account, meanwhile."""
    _write_private(file, url)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def broker_file(data_dir: Path) -> Path:
    """Where the URL of a broker is that `secateur up` runs."""
    return data_dir / "broker"


def url_file(data_dir: Path) -> Path:
    """Where the URL of the service is that `secateur up` runs."""
    return data_dir / "url"


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text + "\n")


@contextmanager
def _sole_user_of(data_dir: Path) -> Iterator[None]:
    # The kernel drops the lock with our process, however it ends; children do not inherit it.
    with (data_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LocalError(
                f"{data_dir} is in use by a running Secateur (pid {lock.read().strip()}): "
                "stop it or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise LocalError(
            f"cannot listen on {host} port {port}: {reason}; choose another --port"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
