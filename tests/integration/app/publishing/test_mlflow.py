"""A real MLflow server and its own client, in a virtual environment of their own."""

import hashlib
import json
import subprocess
from pathlib import Path

import httpx2
import pytest

from app.local.process import Process, Program, running
from app.local.valkey import free_port
from tests.integration.app.publishing.conftest import FILES

BIN = Path(__file__).parents[4] / ".venv-mlflow" / "bin"

pytestmark = [
    pytest.mark.skipif(not BIN.is_dir(), reason="`make .venv-mlflow/installed` was not run"),
    pytest.mark.timeout(300),
]

READ = """
import hashlib, json, sys
from pathlib import Path
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
(version,) = client.search_model_versions("name='acme.captioner'")
run = client.get_run(version.run_id)
directory = Path(mlflow.artifacts.download_artifacts(f"models:/acme.captioner/{version.version}"))
files = {
    path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in directory.rglob("*") if path.is_file()
}
print(json.dumps({
    "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics,
    "tags": run.data.tags, "source": version.source, "artifacts": run.info.artifact_uri,
    "plots": [each.path for each in client.list_artifacts(version.run_id, "plots")],
    "runs": len(client.search_runs([run.info.experiment_id])), "files": files,
}))
"""


class Server(Process):
    """MLflow over SQLite and a directory, on a free port of 127.0.0.1."""

    def __init__(self, directory):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [
            *(str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--workers", "1"),
            *("--artifacts-destination", str(directory / "files")),
        ]
        environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": ""}
        super().__init__(Program(name="mlflow", argv=argv, env=environment), directory)

    def ready(self):
        try:
            return httpx2.get(f"{self.url}/health", trust_env=False).is_success
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with running(Server(tmp_path_factory.mktemp("mlflow"))) as server:
        yield server


@pytest.fixture
def destinations(mlflow):
    return {"registry": {"kind": "mlflow", "endpoint": mlflow.url}}


def test_mlflow_gets_a_run_and_a_version_that_loads_back(client, mlflow, finished, attempt):
    job_id = finished(("registry", "acme/captioner"))
    for _ in range(2):  # trying again leaves one of each
        assert attempt()
        (told,) = client.get(f"/v1/jobs/{job_id}/publications").json()["publications"]
        assert (told["state"], told["last_error"]) == ("published", None)
        client.post(f"/v1/jobs/{job_id}/publications/{told['id']}/retry")
    command = [str(BIN / "python"), "-W", "ignore", "-c", READ, mlflow.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["status"], found["runs"]) == ("FINISHED", 1)
    assert found["params"]["method"] == "magnitude"
    assert found["metrics"] == {"sparsity": 0.5, "sizes.dense": 256000}
    assert found["tags"]["secateur.job"] == job_id
    assert found["plots"] == ["plots/sparsity.svg"]
    assert found["source"] == f"{found['artifacts']}/model"
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    assert found["files"].items() >= digests.items()
