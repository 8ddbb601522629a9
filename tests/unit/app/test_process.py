"""Files are private, and the machine's hub token is out of reach unless it is to be shared."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
if sys.argv[1] == "before":
    import huggingface_hub.constants
from pathlib import Path
from app.process import prepare
from app.settings import Settings
prepare(Settings())
from huggingface_hub.utils import build_hf_headers
Path("made").mkdir()
Path("made/file").touch()
modes = [oct(Path(each).stat().st_mode & 0o777) for each in ("made", "made/file")]
print(json.dumps([modes, build_hf_headers().get("authorization")]))
"""


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """What a process of these variables makes and sends."""

    def run(imported, **variables):
        for name, value in ({"HF_TOKEN": "hf_given"} | variables).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
        command = [sys.executable, "-c", SCRIPT, imported]
        done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("imported", ["before", "after"])
def test_by_default_nobody_else_reads_and_no_token_is_sent(prepared, imported):
    assert prepared(imported) == [["0o700", "0o600"], None]


def test_both_can_be_set(prepared):
    set_ = {"SECATEUR_UMASK": "027", "SECATEUR_MODELS__SHARED_HUB_TOKEN": "true"}
    assert prepared("after", **set_) == [["0o750", "0o640"], "Bearer hf_given"]
