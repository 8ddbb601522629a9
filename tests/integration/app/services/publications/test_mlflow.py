"""A real MLflow server and its own client, in a virtual environment of their own."""

import hashlib
import json
import subprocess
from pathlib import Path

import httpx2
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from app.local.process import Process, Program, running
from app.local.valkey import free_port
from tests.integration.app.services.publications.conftest import FILES, RESULT, SIZES

BIN = Path(__file__).parents[5] / ".venv-mlflow" / "bin"
LIBRARIES = str(Path(torch.__file__).parents[1])

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
(model,) = client.search_logged_models([run.info.experiment_id])
print(json.dumps({
    "model": {
        "model_id": model.model_id, "name": model.name, "status": str(model.status),
        "params": model.params, "tags": model.tags,
    },
    "model_metrics": [
        {"key": each.key, "value": each.value, "dataset_name": each.dataset_name,
         "dataset_digest": each.dataset_digest} for each in model.metrics
    ],
    "inputs": {
        tag.value: [each.dataset.name, each.dataset.digest]
        for each in run.inputs.dataset_inputs for tag in each.tags
    },
    "outputs": [each.model_id for each in run.outputs.model_outputs],
    "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics,
    "tags": run.data.tags, "source": version.source, "artifacts": run.info.artifact_uri,
    "plots": [each.path for each in client.list_artifacts(version.run_id, "plots")],
    "runs": len(client.search_runs([run.info.experiment_id])), "files": files,
}))
"""


LOAD = """
import json, sys
sys.path.append(sys.argv[2])  # torch and transformers, behind what MLflow brings itself
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
loaded = mlflow.pyfunc.load_model("models:/acme.captioner/1")
pipeline = loaded.get_raw_model()
weights = [each for each in pipeline.model.parameters() if each.dim() == 2]
zeros = sum(int((each == 0).sum()) for each in weights)
print(json.dumps({
    "model": type(pipeline.model).__name__, "task": pipeline.task, "zeros": zeros,
    "answers": len(loaded.predict(["a red"])) if pipeline.task == "feature-extraction" else None,
}), flush=True)
"""


READ_BY = {"set": "scenes", "records": 8, "sha256": "c" * 64}
MEASURED_ON = {"set": "questions", "records": 9, "sha256": "e" * 64}
MANIFEST = {"format": 1, "datasets": {"calibration": READ_BY, "evaluation": MEASURED_ON}}
ESTIMATE = {"value": 0.25, "low": 0.125, "high": 0.5}
EVALUATION = {
    "set": "questions",
    "sha256": "e" * 64,
    "samples": 9,
    "metrics": {
        "perplexity": {"samples": 9, "before": ESTIMATE, "after": ESTIMATE, "change": ESTIMATE},
        "text_recall@1": {"samples": 9, "before": ESTIMATE, "after": ESTIMATE, "change": ESTIMATE},
    },
}
SCORED = {"before": {"value": 0.5, "stderr": 0.125}, "after": {"value": 0.25, "stderr": None}}
TASKS = [
    {
        "harness": "lm-eval",
        "task": "piqa",
        "harness_version": "0.4",
        "task_version": "1.0",
        "samples": 9,
        "metrics": {"acc,none": SCORED | {"higher_is_better": True}},
    },
    {"harness": "lm-eval", "task": "other", "code": "task_failed", "reason": "it is not here"},
]


class Server(Process):
    """MLflow over SQLite, on a free port of 127.0.0.1.

    It serves artifacts itself, or leaves them to its clients.
    """

    def __init__(self, directory, *, proxied=True):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        files = self.files = directory / "files"
        files.mkdir(exist_ok=True)
        argv = [
            *(str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--workers", "1"),
            *(
                ("--artifacts-destination", str(files))
                if proxied
                else ("--no-serve-artifacts", "--default-artifact-root", f"file://{files}")
            ),
        ]
        environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": ""}
        super().__init__(Program(name="mlflow", argv=argv, env=environment), directory)

    def wait_until_ready(self, *, seconds=180, **options):
        super().wait_until_ready(seconds=seconds, **options)  # its tables take their time

    def ready(self):
        try:
            return httpx2.get(f"{self.url}/health", trust_env=False).is_success
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module", params=["proxied", "not proxied"])
def mlflow(tmp_path_factory, request):
    directory = tmp_path_factory.mktemp("mlflow")
    with running(Server(directory, proxied=request.param == "proxied")) as server:
        yield server


def tiny_encoder(directory):
    """A sentence encoder with a third of its weights at zero, as plain transformers saves it."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2, "red": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=8, intermediate_size=24, **sizes))
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.weight[::2] = 0
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(directory)
    (directory / "manifest.json").write_text('{"format": 1, "versions": {}}')


def read(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


@pytest.fixture
def published(request, tmp_path):
    if getattr(request, "param", "plain") == "plain":
        return FILES | {"manifest.json": json.dumps(MANIFEST).encode()}
    if request.param == "encoder":
        tiny_encoder(tmp_path)
        return read(tmp_path)
    manifest = {"manifest.json": b'{"format": 1, "versions": {}}'}
    return read(Path("benchmarks/models/scenes-llava")) | manifest


@pytest.fixture
def result():
    return RESULT | {"evaluation": EVALUATION, "tasks": TASKS}


@pytest.fixture
def destinations(mlflow):
    kept = {"artifacts": [str(mlflow.files)]}  # where they are the clients' to write
    return {"registry": {"kind": "mlflow", "endpoint": mlflow.url} | kept}


def test_mlflow_gets_a_run_a_model_and_a_version(client, mlflow, finished, attempt, published):
    job_id = finished(("registry", "acme.captioner"))
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
    sizes = {f"sizes.{name}": figure for name, figure in SIZES.items()}
    assert found["metrics"].items() >= ({"sparsity": 0.5} | sizes).items()
    assert found["tags"]["secateur.job"] == job_id
    assert found["plots"] == ["plots/sparsity.svg"]
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in published.items()}
    assert found["files"].items() >= digests.items()
    used = {"calibration": ["scenes", "c" * 36], "evaluation": ["questions", "e" * 36]}
    assert found["inputs"] == used
    model = found["model"]
    assert found["outputs"] == [model["model_id"]]
    assert found["source"] == f"models:/{model['model_id']}"
    assert (model["name"], model["status"]) == (job_id, "READY")
    assert model["params"] == found["params"]
    assert model["tags"]["secateur.job"] == job_id
    [linked] = json.loads(model["tags"]["mlflow.modelVersions"])
    assert linked["name"] == "acme.captioner"
    measured = {each["key"]: each for each in found["model_metrics"]}
    assert measured.keys() == found["metrics"].keys()
    after = measured["evaluation.metrics.perplexity.after.value"]
    assert (after["value"], after["dataset_name"]) == (0.25, "questions")
    assert after["dataset_digest"] == "e" * 36
    assert measured["sparsity"]["dataset_name"] is None
    assert measured["evaluation.metrics.text_recall_1.before.value"]["value"] == 0.25
    of_tasks = {key: each["value"] for key, each in measured.items() if key.startswith("tasks.")}
    assert of_tasks == {
        "tasks.lm-eval.piqa.samples": 9,
        "tasks.lm-eval.piqa.acc_none.before.value": 0.5,
        "tasks.lm-eval.piqa.acc_none.before.stderr": 0.125,
        "tasks.lm-eval.piqa.acc_none.after.value": 0.25,
    }


@pytest.mark.parametrize(
    ("mlflow", "published", "model", "task"),
    [
        ("proxied", "encoder", "BertModel", "feature-extraction"),
        ("not proxied", "llava", "LlavaForConditionalGeneration", "image-text-to-text"),
    ],
    indirect=["mlflow", "published"],
)
def test_mlflow_loads_what_was_published(client, mlflow, finished, attempt, published, model, task):
    finished(("registry", "acme.captioner"))
    assert attempt()
    versions = httpx2.get(
        f"{mlflow.url}/api/2.0/mlflow/model-versions/search", trust_env=False
    ).json()["model_versions"]
    newest = max(int(each["version"]) for each in versions)
    program = LOAD.replace("captioner/1", f"captioner/{newest}")
    command = [str(BIN / "python"), "-W", "ignore", "-c", program, mlflow.url, LIBRARIES]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["model"], found["task"]) == (model, task)
    if task == "feature-extraction":
        assert found["zeros"] >= 12 * 16
        assert found["answers"]
