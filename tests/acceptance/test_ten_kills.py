"""One job loses its worker ten times; nothing it finished is done again, nothing comes out else."""

import random
import time
from contextlib import ExitStack
from urllib.parse import unquote

import psutil
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from app.local.process import running
from app.local.workers import worker_program
from tests.acceptance.test_many_processes import Worker
from tests.tiny_models import DECODER, save, tokenizer

KILLS = 10
LAYERS = 4 * KILLS  # an attempt that is killed gets through two or three
JOB = {
    "model": "deep-llama",
    "method": "sparsegpt",
    "sparsity": 0.5,
    "calibration": {"samples": 64, "batch_size": 8, "max_length": 64},
}


@pytest.fixture(scope="module")
def deep(models):
    """A model of many blocks, each a tenth of a second of work."""
    sizes = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": LAYERS}
    save(models / JOB["model"], LlamaForCausalLM, LlamaConfig(**DECODER | sizes), tokenizer())


@pytest.fixture
def spares(service):
    """Workers that are warm when another one dies, and notice it soon."""
    shared = service.running.settings
    worker = shared.worker.model_copy(update={"lease_seconds": 1.5, "heartbeat_seconds": 0.3})
    silent = shared.telemetry.model_copy(update={"metrics_port": 0})
    settings = shared.model_copy(update={"worker": worker, "telemetry": silent})
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running(
                    Worker(worker_program(settings.environment(), name), settings.data_dir),
                    pause=service.running.tend,
                )
            )
            for name in ("spare-1", "spare-2")
        ]


def blocks(service, job_id):
    """Every block that an attempt pruned, with the attempt."""
    found = service.http.get(f"/v1/jobs/{job_id}/events?limit=1000").json()["events"]
    pruned = [e for e in found if e["type"] == "block" and e["message"].startswith("pruning")]
    return [(event["attempt"], event["data"]["block"]) for event in pruned]


def digests(service, job_id):
    files = service.artifacts(job_id)
    return {f["path"]: f["sha256"] for f in files if f["path"].endswith(".safetensors")}


def kept(service, job_id):
    """The blocks that the next attempt need not prune."""
    directory = service.running.settings.checkpoints.dir / job_id
    names = [unquote(file.name) for file in directory.glob("0%2Fpruned%2F*.safetensors")]
    return {name.split("/")[-1].rsplit(".", 2)[0] for name in names}


def kill(spares, victim, *, parent):
    """SIGKILL a child, or a worker with its child; a spare worker starts again."""
    child = psutil.Process(victim)
    owner = [spare for spare in spares if spare.pid == child.ppid()]
    if parent:
        child.parent().kill()
    child.kill()
    for spare in owner if parent else ():
        spare.start()


@pytest.mark.timeout(900)  # a minute, and ten imports of torch where others want the processor
def test_ten_kills_in_a_row_change_nothing(service, spares, deep):
    begun = time.monotonic()
    first = service.finish(service.submit(**JOB))
    whole = time.monotonic() - begun
    assert (first["status"], first["attempt"]) == ("succeeded", 1)
    assert len(blocks(service, first["id"])) == LAYERS

    draw = random.Random(0)
    job_id = service.submit(**JOB)
    attempt, had = 0, {}
    for _ in range(KILLS):
        attempt = service.wait(job_id, lambda job, last=attempt: job["attempt"] > last)["attempt"]
        # Anywhere: while it loads, or takes over, or while another block is at work.
        until = len(kept(service, job_id)) + draw.choice((0, 1, 1, 2))
        while len(kept(service, job_id)) < until:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, whole / LAYERS))
        victim = service.workers(job_id)[-1].rpartition(":")[2]
        kill(spares, int(victim), parent=draw.random() < 0.3)
        # On a slow machine, a lease may have run out before: then the next attempt is there.
        attempt = service.job(job_id)["attempt"]
        had[attempt] = kept(service, job_id)
    job = service.finish(job_id)
    assert (job["status"], job["attempt"] > KILLS) == ("succeeded", True)
    assert digests(service, job_id) == digests(service, first["id"])
    assert len(had[attempt]) >= KILLS // 2
    done = blocks(service, job_id)
    for attempt, names in had.items():
        again = names.intersection(block for number, block in done if number > attempt)
        assert not again, f"blocks finished by attempt {attempt} are done again: {sorted(done)}"
