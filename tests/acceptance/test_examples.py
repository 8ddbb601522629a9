"""The shell script of the examples, and the pages on trackers, against the running service."""

import json
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


WANDB = ROOT / ".venv-pipelines/bin/python"
# What the run's file has: LevelDB's format of logs, records of wandb's own protocol in it.
RECORDS = """
import json, struct
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
BLOCK, HEAD = 32768, 7
[file] = Path("wandb").glob("offline-run-*/*.wandb")
data, at, whole = file.read_bytes(), HEAD, b""
summary, config, artifacts = {}, {}, []
while at + HEAD <= len(data):
    if BLOCK - at % BLOCK < HEAD:
        at += BLOCK - at % BLOCK
        continue
    _, length, kind = struct.unpack("<IHB", data[at : at + HEAD])
    whole += data[at + HEAD : at + HEAD + length]
    at += HEAD + length
    if kind not in (1, 4):  # full, or the last part
        continue
    record, whole = Record.FromString(whole), b""
    for each in record.summary.update:
        summary[each.key or each.nested_key[0]] = json.loads(each.value_json)
    for each in record.run.config.update:
        config[each.key] = json.loads(each.value_json)
    name = record.artifact.name or record.request.log_artifact.artifact.name
    artifacts += [name] if name else []
print()
print(json.dumps([summary, config, artifacts]))
"""


@pytest.mark.skipif(
    not (WANDB.parents[1] / "installed").exists(),
    reason="`make .venv-pipelines/installed` was not run",
)
def test_the_page_on_weights_and_biases_records_a_job(service, tmp_path):
    job_id = service.submit(model="bert", method="magnitude", sparsity=0.5)
    assert service.finish(job_id)["status"] == "succeeded"
    service.download(job_id, tmp_path / "pruned")
    page = (ROOT / "docs/how-to/wandb.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    environment = os.environ | {
        "SECATEUR_URL": service.running.url,
        "SECATEUR_KEY": service.running.key,
        "JOB": job_id,
        "WANDB_MODE": "offline",
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "WANDB_DATA_DIR": str(tmp_path / "data"),
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": "",
    }
    for program in (code, RECORDS):
        told = subprocess.run(
            [WANDB, "-W", "ignore", "-c", program],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
    summary, config, artifacts = json.loads(told.stdout.splitlines()[-1])
    assert summary["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert config["method"] == "magnitude"
    assert artifacts == ["captioner"]
