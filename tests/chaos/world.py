"""The service as real processes behind proxies, and the means to disturb it."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil

from app.db import migrate
from app.db.engine import make_engine
from app.local.installation import Api
from app.local.postgres import Postgres
from app.local.process import Process, Program
from app.local.valkey import Valkey, free_port
from app.local.workers import worker_program
from app.services.projects.service import create_first_key
from app.settings import Settings
from tests.chaos.disk import Disk
from tests.chaos.proxy import Proxy, tcp, unix
from tests.chaos.saboteur.sitecustomize import SIGNALS

# Nothing here needs to survive a power cut; what was committed survives the end of the server.
POSTGRES = {"fsync": "off"}
SABOTEUR = Path(__file__).parent / "saboteur"
LEASE, HEARTBEAT = 3.0, 0.5  # seconds
PATIENCE = 120.0  # seconds that anything may take
FAULT_ECHO = 15.0  # seconds after a fault in which the service may still answer 503


class World:
    """PostgreSQL, Valkey, API, maintenance and two workers; whatever dies is started again.

    The service reaches its database and its broker through proxies; the suite looks at them
    directly.

    Args:
        directory: short, and outside pytest's own ones: as root, PostgreSQL runs as another
            account.
        models: directory of the models.
        workers: how many.
        overrides: sections of the settings.
    """

    def __init__(
        self, directory: Path, models: Path, *, workers: int = 2, **overrides: dict[str, Any]
    ) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self._disturbed_at = -FAULT_ECHO
        self._disturbances = 0
        self.unexpected: list[str] = []  # answers of 5xx that nothing explains
        self.disk = Disk(directory / "disk")
        self._stack.callback(self.disk.close)
        self.temporary = self.disk.path / "tmp"
        self.temporary.mkdir()
        self.postgres, self.valkey = Postgres(directory, POSTGRES), Valkey(directory)
        self.processes: dict[str, Process] = {"postgres": self.postgres, "valkey": self.valkey}
        self._stack.callback(self._stop)
        for process in self.processes.values():
            process.start()
            process.wait_until_ready()
        direct = self.postgres.create_database("chaos")
        migrate.upgrade(direct)
        self.engine = make_engine(direct)
        self._stack.callback(self.engine.dispose)
        with self.engine.begin() as connection:
            secret = create_first_key(connection)
        self.database = self._proxy(unix(str(self.postgres.sockets / ".s.PGSQL.5432")))
        self.broker = self._proxy(tcp(self.valkey.port))
        sections: dict[str, dict[str, Any]] = {
            "database": {"url": self._tcp_url()},
            "queue": {
                "url": self.valkey.url.replace(f":{self.valkey.port}", f":{self.broker.port}")
            },
            "models": {"roots": (models,)},
            "storage": {"dir": self.disk.path / "artifacts"},
            "checkpoints": {"dir": self.disk.path / "checkpoints"},
            "api": {"port": free_port()},
            "worker": {"lease_seconds": LEASE, "heartbeat_seconds": HEARTBEAT, "max_attempts": 3},
            "webhooks": {"allow_loopback": True},
        }
        for name, values in overrides.items():
            sections[name] = sections.get(name, {}) | values
        self.settings = Settings(data_dir=directory, **sections)
        environment = self.settings.environment() | {"TMPDIR": str(self.temporary)}
        loop = [sys.executable, "-P", "-m", "app.maintenance"]
        self._add(Api(self.settings))
        self._add(Process(Program(name="maintenance", argv=loop, env=environment), directory))
        sabotaged = environment | {"PYTHONPATH": str(SABOTEUR)}
        for number in range(workers):
            self._add(Process(worker_program(sabotaged, f"worker-{number + 1}"), directory))
        self.root = Client(self, secret or "")
        self.until(lambda: all(self.child(name) for name in self.workers))

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every process."""
        self._stack.close()

    def callback(self, close: Callable[[], None]) -> None:
        """Have something closed before the service is stopped."""
        self._stack.callback(close)

    @property
    def workers(self) -> list[str]:
        """Names of the workers."""
        return [name for name in self.processes if name.startswith("worker")]

    def process(self, name: str) -> psutil.Process:
        """The process of that name; `worker-1 child` is the one that works."""
        parent = psutil.Process(self.processes[name.partition(" ")[0]].pid)
        return parent.children()[0] if name.endswith(" child") else parent

    def child(self, worker: str) -> psutil.Process | None:
        """The worker's child, once it has imported torch."""
        with suppress(psutil.Error, IndexError):
            child = self.process(f"{worker} child")
            if any("libtorch" in each.path for each in child.memory_maps()):
                return child
        return None

    def family(self, name: str) -> list[psutil.Process]:
        """The process with all that it has started."""
        first = self.process(name)
        return [first, *first.children(recursive=True)]

    def tend(self, seconds: float = 0.05) -> None:
        """Wait, and start again what has died meanwhile; wait here instead of sleeping."""
        end = time.monotonic() + seconds
        while True:
            for process in self.processes.values():
                if not process.alive:
                    process.start()
            if (left := end - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.05))

    def until(self, found: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Wait until `found` gives something, and return it."""
        deadline = time.monotonic() + seconds
        while not (it := found()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s")
            self.tend()
        return it

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """In here and shortly after, the service may answer 503 and refuse connections."""
        self._disturbances += 1
        try:
            yield
        finally:
            self._disturbances -= 1
            self._disturbed_at = time.monotonic()

    @property
    def calm(self) -> bool:
        """Whether nothing explains an answer of 503 any more."""
        return not self._disturbances and time.monotonic() > self._disturbed_at + FAULT_ECHO

    def kill(self, name: str) -> None:
        """SIGKILL to a process, and to all of them where it is PostgreSQL."""
        with self.disturbed():
            victims = self.family(name) if name == "postgres" else [self.process(name)]
            for each in victims:
                with suppress(psutil.NoSuchProcess):
                    each.kill()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP to a process, SIGCONT after it; to all of PostgreSQL's."""
        victims = self.family(name) if name == "postgres" else [self.process(name)]
        with self.disturbed():
            for each in victims:
                each.suspend()
            try:
                yield
            finally:
                for each in victims:
                    with suppress(psutil.NoSuchProcess):
                        each.resume()

    def sabotage(self, worker: str, deed: str) -> psutil.Process:
        """Make the main thread of a worker's child do something of `saboteur`; the child."""
        child = self.process(f"{worker} child")
        os.kill(child.pid, SIGNALS[deed])
        return child

    def heal(self) -> None:
        """End every disturbance; returns once everything runs and answers."""
        self.database.heal()
        self.broker.heal()
        for name in self.processes:
            with suppress(psutil.Error, TypeError):
                for each in self.family(name):
                    if each.status() == psutil.STATUS_STOPPED:
                        os.kill(each.pid, signal.SIGCONT)
        self.until(lambda: all(process.ready() for process in self.processes.values()))
        self.until(lambda: all(self.child(name) for name in self.workers))

    def judge(self, answer: httpx2.Response) -> None:
        """Note an answer of 5xx that nothing explains."""
        excused = answer.status_code in {503, 507} and not self.calm
        if answer.status_code >= 500 and not excused:
            self.unexpected.append(f"{answer.request.method} {answer.request.url}: {answer.text}")

    def _add(self, process: Process) -> None:
        self.processes[process.program.name] = process
        process.start()
        process.wait_until_ready()

    def _proxy(self, dial: Callable[[], Any]) -> Proxy:
        proxy = Proxy(dial)
        self._stack.callback(proxy.close)
        return proxy

    def _tcp_url(self) -> str:
        # The server behind listens on a Unix socket, so it can speak neither TLS nor GSSAPI.
        where = f"postgres@127.0.0.1:{self.database.port}/chaos"
        return f"postgresql+psycopg://{where}?sslmode=disable&gssencmode=disable"

    def _stop(self) -> None:
        for process in self.processes.values():
            with suppress(psutil.Error, TypeError):  # TypeError: it never started
                for each in self.family(process.program.name):
                    each.resume()
                if process not in {self.postgres, self.valkey}:
                    psutil.Process(process.pid).send_signal(process.program.stop_signal)
        for process in reversed(self.processes.values()):
            process.stop()


class Client:
    """A key of a project over HTTP; it meets faults as a patient program does."""

    def __init__(self, world: World, key: str) -> None:
        self.world, self.key = world, key
        self.http = httpx2.Client(
            base_url=world.settings.api.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=20,
            trust_env=False,
        )
        world.callback(self.http.close)

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The answer, asked for again where the service is away."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.request(method, path, **options)
                self.world.judge(answer)
            except httpx2.TransportError as error:
                if self.world.calm:
                    raise
                problem = str(error)
            else:
                if answer.status_code not in {429, 503}:
                    return answer
                problem = answer.text
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path}: {problem} for {PATIENCE:g} s")
            self.world.tend(0.2)

    def get(self, path: str, **parameters: Any) -> Any:
        """What the service says."""
        return self.ask("GET", path, params=parameters).json()

    def project(self, name: str) -> "Client":
        """A client of a new project; this one has to be the operator's."""
        made = self.ask("POST", "/v1/projects", json={"name": name}).json()
        return Client(self.world, made["secret"])
