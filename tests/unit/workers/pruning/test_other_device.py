"""Every method and family computes where the model lies, and nowhere else.

The tests of tests/unit/workers/pipeline/test_devices.py do the same on a GPU, where there is one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "fake_device_cases.py"


@pytest.fixture(scope="module")
def found():
    """What went wrong, by case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fake_device_cases"],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(map(json.loads, lines))


def test_nothing_goes_wrong_on_another_device(found):
    assert {name: error for name, error in found.items() if error} == {}
    assert len(found) > 25
