"""A Python client generated from the committed OpenAPI document runs a job."""

import compileall
import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.test_kills import TINY

ROOT = Path(__file__).parents[2]
# A venv of its own: the generator wants older versions of what we use.
BIN = ROOT / ".venv-client" / "bin"
pytestmark = pytest.mark.skipif(
    not BIN.is_dir(), reason="`make .venv-client/installed` was not run"
)
RUN = """
import sys
from io import BytesIO
from generated import AuthenticatedClient
from generated.api.artifacts import list_artifacts
from generated.api.datasets import upload_dataset
from generated.api.jobs import create_job, get_job
from generated.models import JobRequest, JobStatus, UploadDatasetFilesDatasetUpload
from generated.types import File

url, key, model, method, sparsity = sys.argv[1:]
client = AuthenticatedClient(url, key, raise_on_unexpected_status=True)
rows = File(BytesIO(b'{"text": "a"}'), "rows.jsonl")
form = UploadDatasetFilesDatasetUpload(rows)
assert upload_dataset.sync(client=client, body=form).rows == 1
request = JobRequest(model=model, method=method, sparsity=float(sparsity))
job = create_job.sync(client=client, body=request, idempotency_key="generated")
while job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
    job = get_job.sync(job.id, client=client, wait=30)
assert job.status == JobStatus.SUCCEEDED, job
assert job.recipe.allocation.kind == "uniform"
print(job.id, *sorted(file.path for file in list_artifacts.sync(job.id, client=client).artifacts))
"""


def generate(target):
    argv = ["openapi-python-client", "generate", "--meta", "none", "--output-path", target]
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    told = subprocess.run(
        [BIN / argv[0], *argv[1:], "--path", ROOT / "openapi.json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout + told.stderr


def test_it_is_complete_compiles_and_runs_a_job(service, tmp_path):
    said = generate(tmp_path / "generated")
    assert "removal of" not in said, "every schema is taken"
    assert compileall.compile_dir(tmp_path / "generated", quiet=1)
    wanted = [TINY["model"], TINY["method"], str(TINY["sparsity"])]
    arguments = [service.running.url, service.running.key, *wanted]
    done = subprocess.run(
        [BIN / "python", "-W", "error", "-c", RUN, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    job_id, *paths = done.stdout.split()
    assert paths == sorted(file["path"] for file in service.artifacts(job_id))
