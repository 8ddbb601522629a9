"""What every act of the demo does: prune one model several ways, download, try the results."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.client import Client, Json
from app.cli.commands.jobs.download import download_bars, fetch
from app.cli.commands.jobs.watch import watch_to_end
from app.cli.console import err, fail
from app.local.installation import Installation
from app.local.process import LocalError, Process, Program, running


@dataclass(frozen=True)
class Act:
    """A client of the running service."""

    client: Client
    house: Installation

    @property
    def checkpoints(self) -> Path:
        """Where downloads go."""
        return self.house.settings.data_dir / "checkpoints"

    def prune(self, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, Json]:
        """Submit all jobs at once, then follow each to its end; ends the demo where one fails."""
        submitted = {name: self.client.submit(dict(job)) for name, job in requests.items()}
        ended = {}
        for name, job in submitted.items():
            err.print(f"{name}: job {job['id']}")
            ended[name] = watch_to_end(self.client, job["id"], pause=self.house.tend)
            if ended[name]["status"] != "succeeded":
                fail(f"{name} {ended[name]['status']}: {ended[name]['error']}")
        return ended

    def download(self, model: str, jobs: Mapping[str, Json]) -> dict[str, Path]:
        """Fetch every checkpoint, verified by its hashes."""
        directories = {name: self.checkpoints / model / name for name in jobs}
        with download_bars() as bars:
            for name, job in jobs.items():
                fetch(self.client, job["id"], directories[name], bars)
        return directories

    def ask(self, module: str, dense: Path, pruned: Mapping[str, Path]) -> Any:
        """What `workers.demo.<module>` says of the dense and the pruned checkpoints.

        It loads them with transformers, so it runs in a process of its own.
        """
        answer = self.house.settings.data_dir / f"{module}.json"
        answer.unlink(missing_ok=True)
        arguments = [str(path) for path in (answer, dense, *pruned.values())]
        program = Program(
            name=module,
            argv=[sys.executable, "-P", "-m", f"workers.demo.{module}", *arguments],
            env={"HF_HUB_OFFLINE": "1"},
        )
        with running(Process(program, self.house.settings.data_dir), pause=self.house.tend) as run:
            while run.alive:
                self.house.tend(0.1)
            if not answer.exists():
                raise LocalError(f"trying the checkpoints failed\n{run.last_words()}")
        return json.loads(answer.read_text())
