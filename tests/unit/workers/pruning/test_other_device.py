"""Every method and family computes where it is asked to, and nowhere else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[4]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.parametrize("device", ["pretended", pytest.param("cuda", marks=CUDA)])
def test_nothing_goes_wrong_on_another_device(device):
    done = subprocess.run(
        [sys.executable, "-m", "tests.device_cases", device],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert {name: error for name, error in found.items() if error} == {}
    assert len(found) > 25
