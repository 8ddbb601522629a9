"""What was asked of the service: every job with the token that its client keeps."""

import itertools
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers as tf

from tests import tiny_vision_language_models
from tests.chaos.world import Client, World
from tests.tiny_models import BERT, DECODER, save, tokenizer

LAYERS = 24  # each kept when it is done

KINDS: dict[str, dict[str, Any]] = {
    "quick": {"model": "bert", "method": "magnitude", "sparsity": 0.5},
    "pair": {
        "model": "llava",
        "method": "wanda",
        "sparsity": 0.5,
        "calibration": {"set": "scene-captions", "samples": 8, "batch_size": 4},
    },
    "deep": {
        "model": "deep",
        "method": "admm",
        "parameters": {"rounds": 15},  # see `pace`
        "sparsity": 0.5,
        "calibration": {"samples": 32, "batch_size": 8, "max_length": 64},
    },
}
ENDS = {"succeeded", "failed", "cancelled"}
DEEP_SECONDS, MOST_ROUNDS = 4, 200


def make_models(root: Path) -> None:
    """Write the models of all kinds of jobs."""
    save(root / "bert", tf.BertModel, tf.BertConfig(**BERT), tokenizer())
    tiny_vision_language_models.llava(root / "llava")
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": LAYERS}
    config = tf.LlamaConfig(**DECODER | sizes)
    save(root / "deep", tf.LlamaForCausalLM, config, tokenizer())


@dataclass
class Sent:
    """A job that was accepted.

    Attributes:
        id: of the job.
        by: its owner.
        kind: of `KINDS`; None for a job whose result is not compared.
        ends: how it may end.
    """

    id: str
    by: Client
    kind: str | None
    ends: set[str] = field(default_factory=lambda: {"succeeded"})


class Ledger:
    """Submits jobs and remembers them until they are audited."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[Sent] = []
        self._numbers = itertools.count()
        self._run = uuid.uuid4().hex[:8]

    def submit(
        self, kind: str, *, by: Client | None = None, ends: set[str] | None = None, **more: Any
    ) -> str:
        """Submit a job, again with the same key until the service has taken it; its id.

        The key makes it one job however often it was sent: the audit counts by its label.
        """
        token = f"{self._run}-{next(self._numbers)}"
        by = by or self.world.root
        answer = by.ask(
            "POST",
            "/v1/jobs",
            json=KINDS[kind] | {"labels": {"chaos": token}} | more,
            headers={"Idempotency-Key": token},
        )
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        self.sent.append(Sent(job_id, by, None if more else kind, ends or {"succeeded"}))
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as its owner sees it."""
        found: dict[str, Any] = self.world.root.get(f"/v1/jobs/{job_id}")
        return found

    def finish(self, *job_ids: str) -> list[dict[str, Any]]:
        """The jobs once they have ended."""

        def ended() -> list[dict[str, Any]]:
            jobs = [self.job(job_id) for job_id in job_ids]
            return jobs if all(job["status"] in ENDS for job in jobs) else []

        return self.world.until(ended)

    def running(self, job_id: str, phase: str | None = None) -> dict[str, Any]:
        """The job once it runs, in that phase if one is named."""

        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            assert job["status"] not in ENDS, f"it ended before it could be disturbed: {job}"
            here = job["status"] == "running" and phase in {None, job["phase"]}
            return job if here else None

        return self.world.until(reached)

    def taken_over(self, job_id: str, attempt: int) -> dict[str, Any]:
        """The job once a later attempt at it has begun."""
        return self.world.until(lambda: (job := self.job(job_id))["attempt"] > attempt and job)

    def worker_of(self, job_id: str) -> str:
        """Name of the worker that has the job."""
        events = self.world.root.get(f"/v1/jobs/{job_id}/events", limit=1000)["events"]
        ran = [event["data"]["worker"] for event in events if event["message"] == "running"]
        pid = int(ran[-1].rpartition(":")[2])
        for name in self.world.workers:
            if pid in {each.pid for each in self.world.family(name)}:
                return name
        raise AssertionError(f"no worker has process {pid}")


def pace(world: World) -> None:
    """Have deep jobs last long enough to be disturbed, however fast the machine is."""
    parameters = KINDS["deep"]["parameters"]
    while True:
        ledger = Ledger(world)
        [job] = ledger.finish(ledger.submit("deep"))
        if job["result"]["seconds"] >= DEEP_SECONDS or parameters["rounds"] == MOST_ROUNDS:
            return
        parameters["rounds"] = min(2 * parameters["rounds"], MOST_ROUNDS)
