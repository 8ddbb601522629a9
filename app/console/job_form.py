"""A form and the body of `POST /v1/jobs` that it stands for, both ways."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from app.console.forms import SHARED, Places, placed, validated, value_in
from app.console.schema_fields import PREFIX, text_of
from app.domain.submission import JobRequest
from app.recipes.methods import METHODS

PLACES: Places = {
    **SHARED,
    "method": ("method",),
    "sparsity": ("sparsity",),
    "pattern": ("pattern",),
    "target_parameters": ("target_parameters",),
    "target_flops_ratio": ("target_flops_ratio",),
    "tasks": ("evaluation", "tasks"),
    "gate_metric": ("quality_gate", "metric"),
    "gate_max_drop": ("quality_gate", "max_drop"),
    "publish_as": ("publish_as",),
}


def body_of(field: Callable[[str], str], names: Mapping[str, Any]) -> dict[str, Any]:
    """The body that a form means; what was left empty is left out.

    Args:
        field: the text of a field.
        names: all that were sent.

    Raises:
        FormError: JSON that is none, or a label without a value.
    """
    body = placed(field, PLACES)
    if field("tasks"):
        body["evaluation"]["tasks"] = _tasks_of(body["evaluation"]["tasks"])
    method = METHODS.get(str(body.get("method", "")))
    if method is not None and method.prunes != "weights":  # which fields its form does not show
        for name in ("sparsity", "pattern"):
            body.pop(name, None)
    known = method.model_fields if method else {}
    parameters = {
        name.removeprefix(PREFIX): value_in("", name.replace(PREFIX, "parameters.", 1), text)
        for name in names
        if name.startswith(PREFIX) and (text := field(name))
        if name.removeprefix(PREFIX) in known
    }
    if parameters:
        body["parameters"] = {**body.get("parameters", {}), **parameters}
    return body


def request_of(body: Mapping[str, Any]) -> JobRequest:
    """The body as a request.

    Raises:
        FormError: it is none; every issue is told.
    """
    return validated(JobRequest, body, PLACES)


def values_of(body: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form that mean this body; what has no field of its own is left as JSON."""
    left: dict[str, Any] = json.loads(json.dumps(body))
    values = {}
    for name, place in PLACES.items():
        found = _take(left, place)
        if found is not None:
            values[name] = _text_of_tasks(found) if name == "tasks" else text_of(found)
    labels = left.pop("labels", None)
    if labels:
        values["labels"] = ", ".join(f"{key}={value}" for key, value in labels.items())
    for name, value in (left.pop("parameters", None) or {}).items():
        values[PREFIX + name] = text_of(value)
    left = {name: value for name, value in left.items() if value not in (None, {})}
    if left:
        values["more"] = json.dumps(left, indent=2)
    return values


def _tasks_of(told: Any) -> Any:
    """Tasks of harnesses from their names with commas between; those with settings are JSON."""
    if not isinstance(told, str):
        return told
    names = [each.strip().partition("/") for each in told.split(",") if each.strip()]
    return [{"harness": harness, "task": task} for harness, _, task in names]


def _text_of_tasks(tasks: Any) -> str:
    given = [each for each in tasks if isinstance(each, dict)] if isinstance(tasks, list) else []
    text = ", ".join(f"{each.get('harness')}/{each.get('task')}" for each in given)
    return text if text and _tasks_of(text) == tasks else text_of(tasks)


def _take(body: Any, place: tuple[str, ...]) -> Any:
    *outer, last = place
    for name in outer:
        body = body.get(name) if isinstance(body, dict) else None
    return body.pop(last, None) if isinstance(body, dict) else None
