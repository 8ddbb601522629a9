"""What artifacts cost. Ends with the figures as one line of JSON; exits 1 where one is not met.

make bench-artifacts
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.artifacts import downloading, packing, publishing

MEGABYTES = 256
ITEM = 2  # bytes of a bfloat16


def main() -> None:
    torch.set_num_threads(1)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # CPU time of disks jumps
    with tempfile.TemporaryDirectory(prefix="secateur-bench-", dir=memory) as name:
        source = Path(name) / "model.safetensors"
        write_weights(source)
        figures = packing.figures(source) | downloading.figures(source)
    with tempfile.TemporaryDirectory(prefix="secateur-bench-") as name:
        figures |= publishing.figures(Path(name))
    print(json.dumps(figures))
    if not all(figure["ok"] for figure in figures.values()):
        sys.exit(1)


def write_weights(path: Path) -> None:
    """Normal weights in bfloat16, the smaller half of them zero."""
    count = MEGABYTES * 1_000_000 // ITEM
    weights = torch.randn(count, generator=torch.Generator().manual_seed(0)) * 0.02
    weights[weights.abs() < weights[:100_000].abs().median()] = 0
    save_file({"w": weights.bfloat16()}, path)


if __name__ == "__main__":
    main()
