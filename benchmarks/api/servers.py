"""The servers of a run: PostgreSQL as shipped (fsync on), Valkey, and any number of APIs."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from sqlalchemy import Engine

from app.db import migrate, projects, workers
from app.db.engine import make_engine
from app.domain.projects import DEFAULT_PROJECT, Limits
from app.local.postgres import Postgres
from app.local.process import running
from app.local.valkey import Valkey, free_port
from app.planning.machines import Machine
from app.services.projects.service import create_key
from app.settings import Settings
from benchmarks.api.client import Server

# As after the first worker's start.
WORKER = Machine("cpu", 8 << 30, 2, "cpu", 0, None, gflops=20.0, disk_rate=1e9)
UNLIMITED = Limits(queued_jobs=10**9, running_jobs=10**6, requests_per_minute=10**9)


@dataclass(frozen=True)
class Api:
    """One API process over a database of its own."""

    server: Server
    process: psutil.Process
    engine: Engine
    settings: Settings


class Servers:
    """PostgreSQL, Valkey, and a directory that goes in the end."""

    def __init__(self, directory: Path, postgres: Postgres, valkey: Valkey) -> None:
        self.directory, self._postgres, self.queue_url = directory, postgres, valkey.url
        self._stack = ExitStack()

    def api(self, name: str) -> Api:
        """The service over a new, migrated database, with limits that nobody meets."""
        url = self._postgres.create_database(name)
        migrate.upgrade(url)
        data = self.directory / name
        (data / "models" / "tiny").mkdir(parents=True)
        (data / "models" / "tiny" / "config.json").write_text("{}")
        (data / "models" / "tiny" / "model.safetensors").write_bytes(
            (2).to_bytes(8, "little") + b"{}"
        )
        settings = Settings(data_dir=data, database={"url": url}, queue={"url": self.queue_url})
        engine = make_engine(url)
        self._stack.callback(engine.dispose)
        with engine.begin() as connection:
            key = create_key(connection, "benchmark")
            projects.set_limits(connection, DEFAULT_PROJECT, UNLIMITED)
            workers.put(connection, WORKER)
        return self.beside(settings, engine, key)

    def beside(self, settings: Settings, engine: Engine, key: str) -> Api:
        """One more process of the service over a database."""
        environment = settings.environment()
        server, process = self._serve("app.main:create_app", environment, "/readyz", key)
        return Api(server, process, engine, settings)

    def bare(self, count: int = 1) -> list[tuple[Server, psutil.Process]]:
        """So many processes of the yardstick over a database of its own."""
        environment = {"SECATEUR_DATABASE__URL": self._postgres.create_database("bare")}
        app = "benchmarks.api.bare:create_app"
        return [self._serve(app, environment, "/openapi.json") for _ in range(count)]

    @property
    def databases(self) -> list[psutil.Process]:
        """PostgreSQL's processes."""
        first = psutil.Process(self._postgres.pid)
        return [first, *first.children(recursive=True)]

    def close(self) -> None:
        """End the APIs."""
        self._stack.close()

    def _serve(
        self, app: str, environment: dict[str, str], ready: str, key: str = ""
    ) -> tuple[Server, psutil.Process]:
        """As `secateur up` runs it; neither writes a log of accesses."""
        server = Server(free_port(), key)
        argv = ["uvicorn", app, "--factory", "--port", str(server.port), "--no-access-log"]
        child = subprocess.Popen(
            [sys.executable, "-m", *argv, "--log-level", "warning"], env=os.environ | environment
        )
        self._stack.callback(child.wait)
        self._stack.callback(child.terminate)
        while child.poll() is None:
            try:
                httpx2.get(f"http://127.0.0.1:{server.port}{ready}", trust_env=False)
            except httpx2.TransportError:
                time.sleep(0.1)
            else:
                return server, psutil.Process(child.pid)
        raise RuntimeError(f"{app} did not start")


@contextmanager
def servers() -> Iterator[Servers]:
    """Start, and end whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix="secateur-bench-"))
    try:
        with (
            running(Postgres(directory, {"max_connections": "200"})) as postgres,
            running(Valkey(directory)) as valkey,
        ):
            made = Servers(directory, postgres, valkey)
            try:
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
