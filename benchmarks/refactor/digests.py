"""Digests of what one job a method makes, to be compared before and after a refactoring.

`python -m benchmarks.refactor.digests` runs each job of `JOBS` through the whole pipeline on a
tiny random model and prints one JSON object: for each job the SHA-256 of every file of the
artifact (weights, config, tokenizer, masks, card, ...) and of the numbers in its report. Run it
on two commits and compare the outputs with `diff`; no output means the same results bit for bit.
Of reports, which hold times too, the numbers alone count.
"""

import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from app.domain.submission import JobRequest, resolve
from tests.families import BY_NAME
from tests.large_weight_llava import loud_llava
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import run
from workers.pipeline.sharing import Quiet

ACTIVATIONS = 4 << 30  # bytes held in memory between blocks
REPORTS = frozenset({"pruning_report.json", "routing_report.json"})
TEXTS = {"calibration": {"set": "sentences", "samples": 12, "batch_size": 4}}
PAIRS = {"calibration": {"set": "shapes", "samples": 12, "batch_size": 4}}
METRICS = {"evaluation": {"set": "sentences", "samples": 6}}
ROUTING = {
    "parameters": {
        "tokens": 0.5,
        "layers": 5,
        "rounds": 2,
        "candidates": 3,
        "epochs": 2,
        "answer_tokens": 4,
        "held_out": 0.3,
        "allow_no_improvement": True,
        "static_export": True,
    },
    "calibration": {"set": "scenes", "samples": 30, "batch_size": 8},
    "evaluation": {"set": "scenes", "samples": 9, "max_new_tokens": 3},
}


def ecoflap(estimator: str, local: str) -> dict[str, Any]:
    return {"parameters": {"samples": 8, "estimator": estimator, "local": local}}


JOBS: dict[str, dict[str, Any]] = {
    "magnitude": {"model": "clip", "sparsity": 0.5},
    "random": {"model": "qwen2_vl", "sparsity": 0.4},
    "lamp": {"model": "t5", "sparsity": 0.6},
    "l2-normalised": {"model": "bert", "sparsity": 0.5},
    "wanda": {"model": "llava", "sparsity": 0.5, **PAIRS},
    "sparsegpt": {"model": "llama", "sparsity": 0.5, **TEXTS, **METRICS},
    "sparsegpt 2:4": {"model": "blip2_opt", "pattern": "2:4", **PAIRS},
    "multiflow": {"model": "blip_retrieval", "sparsity": 0.63, **PAIRS},
    "snip": {"model": "paligemma", "sparsity": 0.5, **PAIRS},
    "iterative-snip": {"model": "llama", "sparsity": 0.7, **TEXTS},
    "chita": {"model": "opt", "sparsity": 0.5, **TEXTS},
    "ecoflap gradient-norm": {
        "model": "llava",
        "sparsity": 0.5,
        **PAIRS,
        **ecoflap("gradient-norm", "wanda"),
    },
    "ecoflap first-order": {
        "model": "llama",
        "sparsity": 0.5,
        **TEXTS,
        **ecoflap("first-order", "sparsegpt"),
    },
    "ecoflap zeroth-order": {
        "model": "llava",
        "sparsity": 0.5,
        **PAIRS,
        **ecoflap("zeroth-order", "wanda"),
    },
    "par": {"model": "loud-llava", **ROUTING},
}


def numbers(value: object) -> Iterator[object]:
    """The numbers of a report in the order of its keys; without those that are times."""
    if isinstance(value, dict):
        for key in sorted(value):
            if "seconds" not in key:
                yield from numbers(value[key])
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


def digests(job: dict[str, Any], models: Path) -> dict[str, str]:
    """File of the artifact -> SHA-256 of its content, or of the numbers in it for a report."""
    with tempfile.TemporaryDirectory() as scratch:
        staging = Path(scratch) / "staging"
        staging.mkdir()
        run.run(
            RunContext(
                spec=resolve(JobRequest.model_validate(job)),
                staging=staging,
                models=ModelAccess((models,), "http://127.0.0.1:1", models),
                datasets=models,
                checkpoints=CheckpointPlace(Path(scratch) / "kept", 1 << 30),
                activation_bytes=ACTIVATIONS,
                report=Quiet(),
                device="cpu",
            )
        )
        found = {}
        for file in sorted(path for path in staging.rglob("*") if path.is_file()):
            name, content = str(file.relative_to(staging)), file.read_bytes()
            if name in REPORTS:
                content = json.dumps([*numbers(json.loads(content))]).encode()
            found[name] = hashlib.sha256(content).hexdigest()
        return found


def main() -> None:
    torch.set_num_threads(1)
    logging.disable()
    print(f"of {run.__file__}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        models = Path(directory)
        for name in {job["model"] for job in JOBS.values()} - {"loud-llava"}:
            BY_NAME[name].build(models / name)
        loud_llava(models / "loud-llava")
        made = {
            name: digests({"method": name.split()[0], "device": "cpu", **job}, models)
            for name, job in JOBS.items()
        }
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
