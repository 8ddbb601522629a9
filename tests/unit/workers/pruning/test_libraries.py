"""An optional library that is installed and does not import is as good as absent."""

import json
import subprocess
import sys

import pytest

LOOK = """
import json
from workers.pruning.libraries import importable
from transformers.utils import is_torchvision_available
print(json.dumps([importable(), is_torchvision_available()]))
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", [[], False]),
        ("import torchvision.absent", [[], False]),
        ("", [["torchvision"], True]),
    ],
    ids=["broken", "incomplete", "whole"],
)
def test_torchvision_beside_another_build_of_torch(tmp_path, source, found):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(f"__version__ = '0.28.0'\n{source}\n")
    told = tmp_path / "torchvision-0.28.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}){LOOK}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout.splitlines()[-1]) == found
