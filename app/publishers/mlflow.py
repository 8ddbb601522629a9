"""Tells an MLflow server of a job: a run, the model it made, a version of a registered model.

The model is a logged model of MLflow 3: its files, parameters and metrics, linked to the run and to
the data they were measured on.

By MLflow's REST API (https://mlflow.org/docs/latest/rest-api.html): its client keeps address and
credentials in the environment of the whole process, and destinations have their own.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from app.domain.publications import MlFlow, PublishingError
from app.publishers import mlflow_model
from app.publishers.mlflow_artifacts import artifact_store
from app.publishers.publication_files import Parcel, chunks

PLOTS = "plots"
PROXIED = "mlflow-artifacts:/"
MAX_TEXT = 500  # characters of a parameter's value
MAX_PARAMS = 100
JOB_TAG = "secateur.job"
READY = "LOGGED_MODEL_READY"
MAX_DIGEST = 36  # characters of a data set's
MAX_KEY = 250  # characters of the name of a parameter or a metric
_REFUSED = re.compile(r"[^A-Za-z0-9_. -]")  # in such names, as of `text_recall@1` and `acc,none`

Json = dict[str, Any]


def push(destination: MlFlow, secret: str, target: str, parcel: Parcel) -> str:
    """Make run, model and version, and upload the files in between; returns the version's address.

    What is there of the same job is gone on with, so that trying again leaves one of each.

    Raises:
        PublishingError: the server is older than MLflow 3, or keeps artifacts where this process
            may not or cannot put them.
        httpx2.HTTPError: the server is away or refuses.
    """
    user, colon, password = secret.partition(":")
    bearer = {"Authorization": f"Bearer {secret}"} if secret and not colon else {}
    with httpx2.Client(
        base_url=f"{destination.endpoint.rstrip('/')}/api/2.0/",
        headers=bearer,
        auth=(user, password) if colon else None,
        timeout=120,
    ) as http:
        server = _Server(http)
        run = server.run(server.experiment(target), parcel)
        model = server.model(run, parcel)
        if model["status"] != READY:
            _upload(server, run, model, parcel, destination.artifacts)
            server.finish(run["run_id"], model["model_id"], parcel)
        version = server.version(target, run["run_id"], model["model_id"], parcel)
    return f"{destination.endpoint.rstrip('/')}/#/models/{quote(target)}/versions/{version}"


def _upload(
    server: "_Server", run: Json, model: Json, parcel: Parcel, allowed: Sequence[str]
) -> None:
    """Put all files into the model, and those to look at beside the run."""
    shown, folder = run["artifact_uri"], model["artifact_uri"]
    served = folder.startswith(PROXIED)
    put = server.upload if served else artifact_store((shown, folder), allowed)
    for path, file in parcel.files.items():
        put(f"{folder}/{path}", file)
        if path.startswith(f"{PLOTS}/") or path.endswith(".html"):
            put(f"{shown}/{path}", file)
    beside = mlflow_model.extras(
        parcel.files,
        run_id=run["run_id"],
        model_id=model["model_id"],
        model_name=parcel.job.model,
    )
    for path, content in beside.items():
        put(f"{folder}/{path}", content)


class _Server:
    """The calls that are needed of MLflow."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def experiment(self, name: str) -> str:
        found = self._http.get("mlflow/experiments/get-by-name", params={"experiment_name": name})
        if found.status_code == httpx2.codes.NOT_FOUND:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        found.raise_for_status()
        return str(found.json()["experiment"]["experiment_id"])

    def run(self, experiment_id: str, parcel: Parcel) -> Json:
        wanted = f"tags.`{JOB_TAG}` = '{parcel.job.id}'"
        search = {"experiment_ids": [experiment_id], "filter": wanted, "max_results": 1}
        found = self._post("runs/search", search).get("runs", [])
        if found:
            info: Json = found[0]["info"]
            return info
        new = {
            "experiment_id": experiment_id,
            "run_name": parcel.job.id,
            "start_time": _now(),
            "tags": _pairs({JOB_TAG: parcel.job.id, "secateur.method": parcel.job.method}),
        }
        made: Json = self._post("runs/create", new)["run"]["info"]
        return made

    def model(self, run: Json, parcel: Parcel) -> Json:
        """The logged model of the job, made by the run."""
        wanted = {
            "experiment_ids": [run["experiment_id"]],
            "filter": f"tags.`{JOB_TAG}` = '{parcel.job.id}'",
        }
        found = self._post("logged-models/search", wanted).get("models", [])
        if found:
            info: Json = found[0]["info"]
            return info
        new = {
            "experiment_id": run["experiment_id"],
            "name": parcel.job.id,
            "source_run_id": run["run_id"],
            "params": _pairs(_parameters(parcel)),
            "tags": _pairs({JOB_TAG: parcel.job.id, "secateur.method": parcel.job.method}),
        }
        made: Json = self._post("logged-models", new)["model"]["info"]
        return made

    def upload(self, uri: str, content: bytes | Path) -> None:
        path = quote(uri.removeprefix(PROXIED).lstrip("/"))
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        answer = self._http.put(
            f"mlflow-artifacts/artifacts/{path}",
            content=chunks(content) if isinstance(content, Path) else content,
            headers={"Content-Length": str(size)},
        )
        answer.raise_for_status()

    def finish(self, run_id: str, model_id: str, parcel: Parcel) -> None:
        data = _datasets(parcel)
        self._post("runs/log-inputs", {"run_id": run_id, "datasets": data})
        if not self._made(run_id):  # a second time is refused
            outputs = {"run_id": run_id, "models": [{"model_id": model_id, "step": 0}]}
            self._post("runs/outputs", outputs)
        told = {
            "run_id": run_id,
            "params": _pairs(_parameters(parcel)),
            "metrics": [each | {"model_id": model_id} for each in _metrics(parcel)],
        }
        self._post("runs/log-batch", told)
        ready = {"model_id": model_id, "status": READY}
        self._patch(f"logged-models/{model_id}", ready)
        self._post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": _now()})

    def _made(self, run_id: str) -> list[Json]:
        """The models that are outputs of the run."""
        answer = self._http.get("mlflow/runs/get", params={"run_id": run_id})
        made: list[Json] = (
            answer.raise_for_status().json()["run"].get("outputs", {}).get("model_outputs", [])
        )
        return made

    def version(self, name: str, run_id: str, model_id: str, parcel: Parcel) -> str:
        try:
            self._post("registered-models/create", {"name": name})
        except httpx2.HTTPStatusError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.response.text:  # of a proxy, it is no JSON
                raise
        wanted = {"filter": f"run_id = '{run_id}'"}
        answer = self._http.get("mlflow/model-versions/search", params=wanted)
        answer.raise_for_status()
        for found in answer.json().get("model_versions", []):
            return str(found["version"])
        new = {
            "name": name,
            "source": f"models:/{model_id}",
            "run_id": run_id,
            "model_id": model_id,
            "tags": _pairs({JOB_TAG: parcel.job.id}),
        }
        version = str(self._post("model-versions/create", new)["model_version"]["version"])
        # By this tag the page of the model leads to its version.
        link = _pairs({"mlflow.modelVersions": json.dumps([{"name": name, "version": version}])})
        self._patch(f"logged-models/{model_id}/tags", {"model_id": model_id, "tags": link})
        return version

    def _patch(self, call: str, body: Json) -> None:
        self._http.patch(f"mlflow/{call}", json=body).raise_for_status()

    def _post(self, call: str, body: Json) -> Json:
        answer = self._http.post(f"mlflow/{call}", json=body)
        if call.startswith("logged-models") and answer.status_code == httpx2.codes.NOT_FOUND:
            raise PublishingError("the server has no logged models: it has to be MLflow 3")
        answer.raise_for_status()
        told: Json = answer.json()
        return told


def _parameters(parcel: Parcel) -> dict[str, str]:
    """The specification, as texts."""
    spec = parcel.job.stored_spec
    tasks = [f"{each['harness']}/{each['task']}" for each in spec.get("tasks", ())]
    told = {**spec, "tasks": ", ".join(tasks)} if tasks else spec
    leaves = list(_flat(told).items())[:MAX_PARAMS]
    return {name: str(value)[:MAX_TEXT] for name, value in leaves}


def _metrics(parcel: Parcel) -> list[Json]:
    """The figures of the result; those of an evaluation name the data they were measured on."""
    result = parcel.job.stored_result or {}
    evaluation, now = result.get("evaluation") or {}, _now()
    measured_on = {
        "dataset_name": evaluation.get("set"),
        "dataset_digest": evaluation.get("sha256", "")[:MAX_DIGEST],
    }
    return [
        {"key": name, "value": float(value), "timestamp": now, "step": 0}
        | (measured_on if name.startswith("evaluation.") else {})
        for name, value in _flat({**result, "tasks": _of_tasks(result)}).items()
        if isinstance(value, int | float)
    ]


def _of_tasks(result: Json) -> Json:
    """What each task came to: its records, and each metric with its standard error."""
    return {
        f"{each['harness']}.{each['task']}": {
            "samples": each["samples"],
            **{
                metric: {side: measured[side] for side in ("before", "after")}
                for metric, measured in each["metrics"].items()
            },
        }
        for each in result.get("tasks") or ()
        if "metrics" in each  # the others have failed
    }


def _datasets(parcel: Parcel) -> list[Json]:
    """What the job read, as its manifest has it."""
    manifest = json.loads(parcel.files["manifest.json"].read_bytes())
    return [
        {
            "dataset": {
                "name": each["set"],
                "digest": each["sha256"][:MAX_DIGEST],
                "source_type": "secateur",
                "source": json.dumps(each),
            },
            "tags": [{"key": "mlflow.data.context", "value": part}],
        }
        for part, each in manifest.get("datasets", {}).items()
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Json:
    """Leaves by dotted names that MLflow takes; lists and what is None stay out."""
    leaves: Json = {}
    for name, value in tree.items():
        key = prefix + _REFUSED.sub("_", name)
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{key}.")
        elif isinstance(value, str | int | float):
            leaves[key[:MAX_KEY]] = value
    return leaves


def _pairs(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _now() -> int:
    return int(time.time() * 1000)
