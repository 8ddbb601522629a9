"""What the OpenAPI document says of things that have no class to say it."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

PARAMETERS = {
    "job_id": "id of a job",
    "sweep_id": "id of a sweep",
    "dataset_id": "id of an uploaded data set",
    "key_id": "id of an API key",
    "project_id": "id of a project",
    "webhook_id": "id of a webhook endpoint",
    "delivery_id": "id of a delivery",
    "publication_id": "id of a publication",
    "namespace": "`jobs` or `models`",
    "name": "of a model; after `jobs`, the id of a job",
    "version": "number of a version",
    "revision": "`main`, a version such as `v3`, or a commit",
    "folder": "path of a folder in the repository",
    "recursive": "folders below included",
    "path": "of a file, as the list of artifacts has it",
    "limit": "at most so many",
    "cursor": "`next_cursor` of the page before",
    "status": "only those of this status",
    "method": "only those of this method",
    "model": "only those of this model, as it was submitted",
    "created_after": "only those made at this time or later",
    "created_before": "only those made earlier",
    "sort": "newest first, or oldest first",
    "accept": "`text/event-stream` for the log as it grows",
    "last-event-id": "id of the last event seen; goes before `after`",
}

# Codes of problems that are no errors of the domain's.
CODES = {
    "field_invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "A field has a value it may not have."),
    "field_missing": (HTTPStatus.UNPROCESSABLE_ENTITY, "A field is missing."),
    "unknown_field": (HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such field."),
    "body_not_an_object": (HTTPStatus.UNPROCESSABLE_ENTITY, "The body is no JSON object."),
    "request_invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "Several things are wrong; see errors."),
    "sparsity_missing": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A sparsity, or an N:M pattern that implies it, is missing.",
    ),
    "sparsity_auto_without_gate": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A sparsity is to be looked for, and no quality gate says how good the model must stay.",
    ),
    "structure_target_given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The size is to be looked for, and a target of operations says what it is.",
    ),
    "evaluation_of_nothing": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "An evaluation names neither a set nor tasks of a harness.",
    ),
    "task_batch_size": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "lmms-eval runs one request at a time.",
    ),
    "tasks_not_of_routers": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Harnesses load plain models, and the method makes one with a router.",
    ),
    "sparsity_zero": (HTTPStatus.UNPROCESSABLE_ENTITY, "Sparsity 0 prunes nothing."),
    "sparsity_out_of_range": (HTTPStatus.UNPROCESSABLE_ENTITY, "A sparsity is not in [0, 1)."),
    "sparsity_contradicts_pattern": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The sparsity is not the one that the N:M pattern implies.",
    ),
    "given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "take_anyway is the former name of allow_no_improvement; give one",
    ),
    "pattern_given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The recipe has a pattern of its own; leave pattern out.",
    ),
    "reconstruction_given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The recipe has a reconstruction of its own; leave reconstruction out.",
    ),
    "recovery_given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The recipe has a recovery of its own; leave recovery out.",
    ),
    "structure_given_twice": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The recipe has a structure of its own; leave structure out.",
    ),
    "structure_repeated": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A kind of structure is given twice.",
    ),
    "structure_zero": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A step of the structure takes nothing out.",
    ),
    "structure_keep_not_rising": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The blocks stay in the order of the model: give each number once, the smallest first.",
    ),
    "structure_keep_contradicted": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "keep says which blocks stay; leave removed out.",
    ),
    "structure_target_without_structure": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A target of parameters or operations is given, and no structure that may go.",
    ),
    "method_and_recipe": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Give a method or a recipe, not both.",
    ),
    "parameters_without_method": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Parameters belong to a named method; a recipe's parts have their own settings.",
    ),
    "pattern_not_a_regex": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "re:(a is no regular expression that is understood: missing ): (a",
    ),
    "pattern_invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "The pattern does not keep n of m."),
    "measure_not_of_routers": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A router decides anew for every prompt, so no one time tells of it; leave measure out.",
    ),
    "weights_stay_dense": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Fields about weights go with a method that zeroes none.",
    ),
    "calibration_set_has_no_images": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The method learns from images, and the calibration set has texts only.",
    ),
    "dataset_name_invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "No data set is named like this."),
    "metadata_too_large": (HTTPStatus.UNPROCESSABLE_ENTITY, "Metadata takes at most 8192 bytes."),
    "quality_gate_without_evaluation": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A quality gate needs an evaluation.",
    ),
    "quality_gate_not_measured": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The evaluation does not measure the quality gate's metric.",
    ),
    "objective_not_measured": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The evaluation does not measure the objective's metric.",
    ),
    "repeated": (HTTPStatus.UNPROCESSABLE_ENTITY, "An element of a list repeats an earlier one."),
    "sweep_too_large": (HTTPStatus.UNPROCESSABLE_ENTITY, "The sweep has too many combinations."),
    "range_not_satisfiable": (
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "The range lies outside of the file.",
    ),
    "json_invalid": (HTTPStatus.BAD_REQUEST, "The body is not JSON."),
    "bad_request": (HTTPStatus.BAD_REQUEST, "The request cannot be read."),
    "not_found": (HTTPStatus.NOT_FOUND, "There is no such address."),
    "overloaded": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The service has as many requests in work as it takes; try again.",
    ),
    "internal": (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The service met an unexpected error; its log has the details.",
    ),
}


def header(description: str, kind: str = "string", example: Any = None) -> dict[str, Any]:
    """A header of an answer."""
    told: dict[str, Any] = {"description": description, "schema": {"type": kind}}
    return told if example is None else told | {"example": example}


# Of every answer to a request with a key.
HEADERS = {
    "RateLimit": header(
        'what is left: "project";r=requests;t=seconds', example='"project";r=5999;t=42'
    ),
    "RateLimit-Policy": header(
        'the limit: "project";q=requests;w=seconds', example='"project";q=6000;w=60'
    ),
    "X-Request-Id": header(
        "the request's name in the service's log: yours, if you sent one",
        example="req_019a44d2c1f07b3e9c55d0a1b2c3d4e5",
    ),
}
RETRY_AFTER = header("seconds to wait", "integer", 5)
CHALLENGE = header("how to identify oneself", example="Bearer")
LOCATION = header("where the new resource is", example="/v1/jobs/job_019a44d2c1f07b3e")
REPLAYED = header("`true` where an earlier answer is repeated", example="true")
ETAG = header("the resource's state, for If-Match", example='"4"')


class DocumentedAs:
    """Of JSON that is handed on as it is stored: the model that the document shows for it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The model's schema, as a component."""
        return handler(self._model.__pydantic_core_schema__)
