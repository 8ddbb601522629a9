"""OpenLineage's events of a job: when a run began and ended, what it read, what it made.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json, and the facets beside it.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from app.domain.jobs import Job
from app.domain.webhooks import WebhookEvent

_SPEC = "https://openlineage.io/spec"
_PRODUCER = "urn:secateur"
_STARTED = "START"
_TYPES = {
    WebhookEvent.RUNNING: _STARTED,
    WebhookEvent.SUCCEEDED: "COMPLETE",
    WebhookEvent.FAILED: "FAIL",
    WebhookEvent.CANCELLED: "ABORT",
}
# What a receiver of lineage is told of.
EVENTS = tuple(_TYPES)

Json = dict[str, Any]


def run_event(job: Job, payload: Mapping[str, Any], *, namespace: str, version: str) -> Json:
    """The event that a message to webhooks means.

    Args:
        job: as it is now.
        payload: of the message: `type`, `timestamp`, and the `attempt` in its `data`.
        namespace: of jobs, uploaded data sets and results.
        version: of the service.

    Raises:
        JobUnreadableError: the job was stored by another version of the service.
    """
    event = WebhookEvent(payload["type"])
    kind = _TYPES[event]
    if kind == _STARTED and payload["data"]["attempt"] > 1:
        kind = "RUNNING"  # a run starts once, and a later attempt goes on with it
    engine = {"name": "secateur", "version": version}
    run = {
        "processing_engine": _facet("ProcessingEngineRunFacet", "1-1-1", **engine),
        "executionParameters": _facet(
            "ExecutionParametersRunFacet", "1-0-0", parameters=list(_parameters(job))
        ),
        "tags": _facet("TagsRunFacet", "1-0-0", tags=list(_tags(job))),
    }
    if job.sweep_id is not None:
        sweep: Json = {"run": {"runId": _uuid(job.sweep_id)}}
        sweep["job"] = {"namespace": namespace, "name": f"{job.project_id}.sweep"}
        run["parent"] = _facet("ParentRunFacet", "1-2-0", **sweep)
    if event is WebhookEvent.FAILED and job.error is not None:
        # It was stored without secrets.
        message = f"{job.error.code}: {job.error.message}"
        told = {"message": message, "programmingLanguage": "python"}
        run["errorMessage"] = _facet("ErrorMessageRunFacet", "1-0-1", **told)
    batch = {"processingType": "BATCH", "integration": "SECATEUR", "jobType": "JOB"}
    return {
        "eventType": kind,
        "eventTime": payload["timestamp"],
        "producer": _PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": _uuid(job.id), "facets": run},
        "job": {
            "namespace": namespace,
            "name": f"{job.project_id}.{job.method}",
            "facets": {"jobType": _facet("JobTypeJobFacet", "2-0-4", **batch)},
        },
        "inputs": list(_inputs(job, namespace)),
        "outputs": [_output(job, namespace)] if kind == "COMPLETE" else [],
    }


def _facet(name: str, version: str, /, **values: Any) -> Json:
    address = f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": _PRODUCER, "_schemaURL": address, **values}


def _uuid(identifier: str) -> str:
    """Ids of jobs and sweeps have a UUID after their prefix."""
    return str(UUID(identifier.partition("_")[2]))


def _parameters(job: Job) -> Iterator[Json]:
    asked = job.stored_request
    for name in ("method", "sparsity", "pattern"):
        if asked.get(name) is not None:
            yield {"key": name, "value": str(asked[name])}


def _tags(job: Job) -> Iterator[Json]:
    for key, value in job.labels.items():
        yield {"key": key, "value": value, "source": "USER"}


def _inputs(job: Job, namespace: str) -> Iterator[Json]:
    yield _model(job.model, namespace)
    sets = [each.set for each in (job.spec.calibration, job.spec.evaluation) if each]
    for name in dict.fromkeys(each for each in sets if each):
        yield {"namespace": namespace, "name": f"datasets/{name}"}


def _model(model: str, namespace: str) -> Json:
    """A model of the hub is known by its name everywhere; others are the service's own."""
    if model.startswith("hf:") and not model.startswith(("hf:models/", "hf:jobs/")):
        return {"namespace": "huggingface", "name": model.removeprefix("hf:")}
    own = model.startswith(("hf:", "models/", "jobs/"))
    return {"namespace": namespace, "name": model.removeprefix("hf:") if own else f"local/{model}"}


def _output(job: Job, namespace: str) -> Json:
    made: Json = {"namespace": namespace, "name": f"jobs/{job.id}"}
    if job.result is not None and job.result.sizes is not None:
        size = {"size": job.result.sizes.dense}
        facet = _facet("OutputStatisticsOutputDatasetFacet", "1-0-2", **size)
        made["outputFacets"] = {"outputStatistics": facet}
    return made
