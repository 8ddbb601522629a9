"""The shell script of the examples, and the page on MLflow, against the running service."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "prune.sh"
MLFLOW = ROOT / ".venv-mlflow/bin/python"
with_shell = pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "jq"))), reason="the script needs sh, curl and jq"
)


def prune(service, method, target):
    secrets = {"SECATEUR_URL": service.running.url, "SECATEUR_KEY": service.running.key}
    argv = [SCRIPT, "bert", method, "0.5", target]
    environment = os.environ | secrets | {"no_proxy": "127.0.0.1"}
    return subprocess.run(
        argv, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@with_shell
def test_the_script_brings_the_files(service, tmp_path):
    told = prune(service, "magnitude", tmp_path / "pruned")
    assert told.returncode == 0, told.stderr
    job_id = told.stdout.split()[1]
    for file in service.artifacts(job_id):
        assert (tmp_path / "pruned" / file["path"]).stat().st_size == file["size"]


@with_shell
def test_the_script_fails_where_the_service_refuses(service, tmp_path):
    told = prune(service, "no-such-method", tmp_path / "pruned")
    assert told.returncode != 0
    assert not (tmp_path / "pruned").exists()


@pytest.mark.skipif(not MLFLOW.exists(), reason="`make .venv-mlflow/installed` was not run")
def test_the_page_on_mlflow_records_a_job(service, tmp_path):
    job_id = service.submit(model="bert", method="magnitude", sparsity=0.5)
    assert service.finish(job_id)["status"] == "succeeded"
    service.download(job_id, tmp_path / "pruned")
    page = (ROOT / "docs/how-to/mlflow.md").read_text()
    *_, code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    asked = "print(mlflow.search_runs().iloc[0]['metrics.sparsity'])"
    environment = os.environ | {
        "SECATEUR_URL": service.running.url,
        "SECATEUR_KEY": service.running.key,
        "JOB": job_id,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "no_proxy": "127.0.0.1",
    }
    argv = [MLFLOW, "-c", code + asked]
    told = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert float(told.stdout.split()[-1]) == pytest.approx(0.5, abs=1e-3)
    assert list(tmp_path.rglob("artifacts/manifest.json"))
