"""The shell script of the examples, against the running service."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "prune.sh"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "jq"))), reason="the script needs sh, curl and jq"
)


def prune(service, method, target):
    secrets = {"SECATEUR_URL": service.running.url, "SECATEUR_KEY": service.running.key}
    argv = [SCRIPT, "bert", method, "0.5", target]
    environment = os.environ | secrets | {"no_proxy": "127.0.0.1"}
    return subprocess.run(
        argv, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_script_brings_the_files(service, tmp_path):
    told = prune(service, "magnitude", tmp_path / "pruned")
    assert told.returncode == 0, told.stderr
    job_id = told.stdout.split()[1]
    for file in service.artifacts(job_id):
        assert (tmp_path / "pruned" / file["path"]).stat().st_size == file["size"]


def test_the_script_fails_where_the_service_refuses(service, tmp_path):
    told = prune(service, "no-such-method", tmp_path / "pruned")
    assert told.returncode != 0
    assert not (tmp_path / "pruned").exists()
