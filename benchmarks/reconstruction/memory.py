"""Peak memory of what solves for weights, beside SparseGPT's, on a bfloat16 Llama in files."""

import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.memory import model
from benchmarks.memory.__main__ import SAMPLES, run

CHANNELS = 4096  # inputs of the largest matrix
FEWER, MORE = 0.08, 0.24  # GB


def figures() -> dict[str, Figure]:
    """Each beside what is allowed, in float32: two of (in, in), four of the largest matrix."""
    room = 4 * (2 * CHANNELS**2 + 4 * CHANNELS * model.HIDDEN) / (1 << 20)
    with tempfile.TemporaryDirectory(
        prefix="secateur-bench-", dir=os.environ.get("TMPDIR")
    ) as place:
        allowed = _peak(Path(place), FEWER, "sparsegpt") + room
        found = {
            method: _peak(Path(place), FEWER, method)
            for method in ("least-squares", "admm", "mixed")
        }
        more = _peak(Path(place), MORE, "mixed")
    return {
        "peak of least squares / allowed": Figure(found["least-squares"] / allowed, most=1.0),
        "peak of ADMM / allowed": Figure(found["admm"] / allowed, most=1.0),
        "peak of ADMM, objective mixed / allowed for pruned-inputs": Figure(
            found["mixed"] / allowed
        ),
        "peak of ADMM, objective mixed, three times the blocks / fewer": Figure(
            more / found["mixed"], most=1.1
        ),
    }


def _peak(place: Path, size: float, method: str) -> float:
    """MiB."""
    source, output = place / "source", place / "output"
    model.write(source, size, channels=CHANNELS)
    found = run(source, output, "disk", method, SAMPLES)
    shutil.rmtree(source)
    shutil.rmtree(output)
    print(f"{size:g} GB, {method}: {found}", flush=True)
    return found["peak"]
