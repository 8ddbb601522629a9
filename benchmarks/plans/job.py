"""One job's pipeline in this process; prints its peak memory in bytes and its seconds of CPU.

It computes on one thread: on an idle machine that is the time it takes, on a shared one the time
it would take.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from app.domain.submission import JobRequest, resolve
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import run
from workers.pipeline.sharing import Quiet

ACTIVATIONS = 4 << 30


def peak() -> int:
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def main(root: Path, request: str) -> None:
    torch.set_num_threads(1)
    spec = resolve(JobRequest.model_validate_json(request))
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        staging = Path(scratch) / "staging"
        staging.mkdir()
        context = RunContext(
            spec=spec,
            staging=staging,
            models=ModelAccess((root,), "http://127.0.0.1:1", root),
            datasets=root,
            checkpoints=CheckpointPlace(Path(scratch) / "kept", 1 << 40),
            activation_bytes=ACTIVATIONS,
            report=Quiet(),
        )
        start = time.process_time()
        run.run(context)
        print(json.dumps({"peak": peak(), "seconds": time.process_time() - start}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
