"""Tells an MLflow server of a job: a run with its files, and a version of a registered model.

By MLflow's REST API (https://mlflow.org/docs/latest/rest-api.html): its client keeps address and
credentials in the environment of the whole process, and destinations have their own.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from app.domain.publications import MlFlow
from app.publishers import mlflow_model
from app.publishers.mlflow_artifacts import artifact_store
from app.publishers.publication_files import Parcel, chunks

MODEL = "model"  # the folder of the run that has the files
PLOTS = "plots"
PROXIED = "mlflow-artifacts:/"
MAX_TEXT = 500  # characters of a parameter's value
MAX_PARAMS = 100
JOB_TAG = "secateur.job"

Json = dict[str, Any]


def push(destination: MlFlow, secret: str, target: str, parcel: Parcel) -> str:
    """Make run and version, and upload the files in between; returns the version's address.

    A run of the same job is gone on with, so that trying again leaves one of each.

    Raises:
        PublishingError: the server keeps artifacts where this process cannot put them.
        httpx2.HTTPError: the server is away or refuses.
    """
    name = target.replace("/", ".")  # names of models cannot have slashes
    user, colon, password = secret.partition(":")
    bearer = {"Authorization": f"Bearer {secret}"} if secret and not colon else {}
    with httpx2.Client(
        base_url=f"{destination.endpoint.rstrip('/')}/api/2.0/",
        headers=bearer,
        auth=(user, password) if colon else None,
        timeout=120,
    ) as http:
        server = _Server(http)
        run = server.run(server.experiment(name), parcel)
        folder = run["artifact_uri"]
        put = server.upload if folder.startswith(PROXIED) else artifact_store(folder)
        for path, file in parcel.files.items():
            put(f"{folder}/{MODEL}/{path}", file)
            if path.startswith(f"{PLOTS}/") or path.endswith(".html"):
                put(f"{folder}/{path}", file)
        beside = mlflow_model.extras(
            parcel.files, run_id=run["run_id"], model_name=parcel.job.model
        )
        for path, content in beside.items():
            put(f"{folder}/{MODEL}/{path}", content)
        server.finish(run["run_id"], parcel)
        version = server.version(name, f"{folder}/{MODEL}", run["run_id"], parcel)
    return f"{destination.endpoint.rstrip('/')}/#/models/{quote(name)}/versions/{version}"


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

    def upload(self, uri: str, content: bytes | Path) -> None:
        path = quote(uri.removeprefix(PROXIED).lstrip("/"))
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        answer = self._http.put(
            f"mlflow-artifacts/artifacts/{path}",
            content=chunks(content) if isinstance(content, Path) else content,
            headers={"Content-Length": str(size)},
        )
        answer.raise_for_status()

    def finish(self, run_id: str, parcel: Parcel) -> None:
        params = dict(list(_flat(parcel.job.stored_spec).items())[:MAX_PARAMS])
        metrics = {
            name: float(value)
            for name, value in _flat(parcel.job.stored_result or {}).items()
            if isinstance(value, int | float)
        }
        told = {
            "run_id": run_id,
            "params": _pairs({name: str(value)[:MAX_TEXT] for name, value in params.items()}),
            "metrics": [entry | {"timestamp": _now(), "step": 0} for entry in _pairs(metrics)],
        }
        self._post("runs/log-batch", told)
        self._post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": _now()})

    def version(self, name: str, source: str, run_id: str, parcel: Parcel) -> str:
        try:
            self._post("registered-models/create", {"name": name})
        except httpx2.HTTPStatusError as error:
            if error.response.json().get("error_code") != "RESOURCE_ALREADY_EXISTS":
                raise
        wanted = {"filter": f"run_id = '{run_id}'"}
        answer = self._http.get("mlflow/model-versions/search", params=wanted)
        answer.raise_for_status()
        for found in answer.json().get("model_versions", []):
            return str(found["version"])
        tags = _pairs({JOB_TAG: parcel.job.id})
        new = {"name": name, "source": source, "run_id": run_id, "tags": tags}
        return str(self._post("model-versions/create", new)["model_version"]["version"])

    def _post(self, call: str, body: Json) -> Json:
        answer = self._http.post(f"mlflow/{call}", json=body)
        answer.raise_for_status()
        told: Json = answer.json()
        return told


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Json:
    """Leaves by dotted names; lists and what is None stay out."""
    leaves: Json = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            leaves[f"{prefix}{name}"] = value
    return leaves


def _pairs(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _now() -> int:
    return int(time.time() * 1000)
