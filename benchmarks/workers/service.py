"""The real service in a temporary directory, with as many workers as asked for."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2

from app.local.installation import Installation, installation
from app.local.process import Process, running
from app.local.valkey import free_port
from app.local.workers import worker_program
from app.recipes.pruning_report import STATISTICS_FILE
from app.settings import Settings

MODELS = Path(__file__).parents[1] / "models"
PATIENCE = 300.0  # seconds that a job, a sweep or a worker's start may take
ENDS = {"succeeded", "failed", "cancelled"}

Answer = dict[str, Any]
Digests = Mapping[str, str]


class Service:
    """The running service and its client."""

    def __init__(self, installed: Installation, http: httpx2.Client) -> None:
        self._installed, self._http = installed, http
        self.worker_pids: list[int] = []

    @contextmanager
    def workers(self, count: int, warm_up: Answer) -> Iterator[None]:
        """So many workers of one thread each, every one of which has run a job like `warm_up`."""
        data_dir = self._installed.settings.data_dir
        environment = self._installed.settings.environment()
        with ExitStack() as stack:
            for number in range(count):
                program = worker_program(environment, f"worker-{number + 1}")
                worker = Process(program, data_dir)
                stack.enter_context(running(worker, pause=self._installed.tend))
                self.worker_pids = [*self.worker_pids[:number], worker.pid or 0]
            seen: set[str] = set()
            deadline = time.monotonic() + PATIENCE
            while len(seen) < count and time.monotonic() < deadline:
                jobs = [self.submit("/v1/jobs", warm_up) for _ in range(count)]
                seen |= {self._worker(self.ended(job)) for job in jobs}
            if len(seen) < count:
                raise RuntimeError(f"of {count} workers, only {sorted(seen)} have run a job")
            yield

    def submit(self, path: str, body: Answer) -> str:
        """Submit a job or a sweep; where to look at it."""
        return f"{path}/{self._checked(self._http.post(path, json=body))['id']}"

    def ended(self, path: str) -> Answer:
        """The job or the sweep, once it has succeeded.

        Raises:
            RuntimeError: it has failed, or takes too long.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.get(f"{path}?wait=1")
            if found["status"] in ENDS:
                break
            self._installed.tend(0)  # where Ctrl-C is heard
        if found["status"] != "succeeded":
            raise RuntimeError(f"{path} has not succeeded: {found}")
        return found

    def get(self, path: str) -> Answer:
        """What the service answers."""
        return self._checked(self._http.get(path))

    def weights(self, job_id: str) -> Digests:
        """SHA-256 of the weights and masks that a job has made."""
        files = self.get(f"/v1/jobs/{job_id}/artifacts")["artifacts"]
        tensors = {f["path"]: f["sha256"] for f in files if f["path"].endswith(".safetensors")}
        tensors.pop(STATISTICS_FILE, None)  # only the first job of a sweep keeps them
        return tensors

    def _worker(self, job: Answer) -> str:
        events = self.get(f"/v1/jobs/{job['id']}/events?limit=1000")["events"]
        return next(str(e["data"]["worker"]) for e in events if e["message"] == "running")

    def _checked(self, answer: httpx2.Response) -> Answer:
        if not answer.is_success:
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        found: Answer = answer.json()
        return found


@contextmanager
def service() -> Iterator[Service]:
    """PostgreSQL, Valkey, API and maintenance; gone at the end, whatever happens.

    Raises:
        Stopped: a signal came.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="secateur-bench-") as directory:
        settings = Settings(
            data_dir=Path(directory), models={"roots": (MODELS,)}, api={"port": free_port()}
        )
        with (
            installation(settings, report=print, workers=0) as installed,
            httpx2.Client(
                base_url=installed.url,
                headers={"Authorization": f"Bearer {installed.key}"},
                timeout=30,
                trust_env=False,
            ) as http,
        ):
            yield Service(installed, http)


def seconds(*ended: Answer) -> float:
    """From the first submit to the last end, as the service has written them down."""
    first = min(datetime.fromisoformat(each["created_at"]) for each in ended)
    last = max(datetime.fromisoformat(each["finished_at"]) for each in ended)
    return (last - first).total_seconds()
