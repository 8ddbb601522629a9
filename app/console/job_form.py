"""A form and the body of `POST /v1/jobs` that it stands for, both ways."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.console.schema_fields import PREFIX, text_of, value_of
from app.domain.submission import JobRequest
from app.messages import in_words
from app.recipes.methods import METHODS

_MORE = JsonLimits(bytes=64 << 10)

# Where each field of the form stands in the body.
PLACES = {
    "model": ("model",),
    "method": ("method",),
    "sparsity": ("sparsity",),
    "pattern": ("pattern",),
    "target_parameters": ("target_parameters",),
    "target_flops_ratio": ("target_flops_ratio",),
    "calibration_set": ("calibration", "set"),
    "calibration_samples": ("calibration", "samples"),
    "evaluation_set": ("evaluation", "set"),
    "evaluation_samples": ("evaluation", "samples"),
    "gate_metric": ("quality_gate", "metric"),
    "gate_max_drop": ("quality_gate", "max_drop"),
    "measure": ("measure",),
    "publish_as": ("publish_as",),
    "worker_class": ("worker_class",),
    "priority": ("priority",),
}
_TEXTS = {"model", "method", "pattern", "calibration_set", "evaluation_set", "gate_metric",
          "publish_as", "worker_class"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with one field; `field` is empty where it is not one of the form's."""

    field: str
    name: str
    text: str


class FormError(Exception):
    """The form is no request yet."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__("; ".join(f"{each.name}: {each.text}" for each in wrong))
        self.wrong = wrong


def body_of(field: Callable[[str], str], names: Mapping[str, Any]) -> dict[str, Any]:
    """The body that a form means; what was left empty is left out.

    Args:
        field: the text of a field.
        names: all that were sent.

    Raises:
        FormError: the further fields are no JSON object.
    """
    try:
        body = parse_object(field("more").encode(), _MORE) if field("more") else {}
    except JsonError as error:
        raise FormError([Wrong("more", "Further fields", str(error))]) from error
    for name, place in PLACES.items():
        if text := field(name):
            _put(body, place, text if name in _TEXTS else value_of(text))
    method = METHODS.get(str(body.get("method", "")))
    if method is not None and method.prunes != "weights":  # which fields its form does not show
        for name in ("sparsity", "pattern"):
            body.pop(name, None)
    if labels := field("labels"):
        pairs = [each.partition("=") for each in labels.split(",") if each.strip()]
        body["labels"] = {key.strip(): value.strip() for key, _, value in pairs}
    known = method.model_fields if method else {}
    parameters = {
        name.removeprefix(PREFIX): value_of(text)
        for name in names
        if name.startswith(PREFIX) and (text := field(name))
        if name.removeprefix(PREFIX) in known
    }
    if parameters:
        body["parameters"] = {**body.get("parameters", {}), **parameters}
    return body


def _put(body: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *outer, last = place
    for name in outer:
        inner = body.get(name)
        body[name] = inner if isinstance(inner, dict) else {}
        body = body[name]
    body[last] = value


def request_of(body: Mapping[str, Any]) -> JobRequest:
    """The body as a request.

    Raises:
        FormError: it is none; every issue is told.
    """
    try:
        return JobRequest.model_validate(body)
    except ValidationError as error:
        raise FormError([_wrong(issue) for issue in error.errors()]) from error


def _wrong(issue: Any) -> Wrong:
    place = tuple(str(part) for part in issue["loc"])
    field = next((name for name, known in PLACES.items() if place[: len(known)] == known), "")
    if place[:1] == ("labels",):
        field = "labels"
    return Wrong(field, ".".join(place) or "The request", in_words(issue))


def values_of(body: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form that mean this body; what has no field of its own is left as JSON."""
    left: dict[str, Any] = json.loads(json.dumps(body))
    values = {}
    for name, place in PLACES.items():
        found = _take(left, place)
        if found is not None:
            values[name] = text_of(found)
    labels = left.pop("labels", None)
    if labels:
        values["labels"] = ", ".join(f"{key}={value}" for key, value in labels.items())
    for name, value in (left.pop("parameters", None) or {}).items():
        values[PREFIX + name] = text_of(value)
    left = {name: value for name, value in left.items() if value not in (None, {})}
    if left:
        values["more"] = json.dumps(left, indent=2)
    return values


def _take(body: Any, place: tuple[str, ...]) -> Any:
    *outer, last = place
    for name in outer:
        body = body.get(name) if isinstance(body, dict) else None
    return body.pop(last, None) if isinstance(body, dict) else None


def as_curl(address: str, body: Mapping[str, Any]) -> str:
    """The same by curl."""
    text = shlex.quote(json.dumps(body))
    return (
        f"curl {shlex.quote(address + '/v1/jobs')} \\\n"
        '  -H "Authorization: Bearer $SECATEUR_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {text}"
    )


def as_python(address: str, body: Mapping[str, Any]) -> str:
    """The same in Python, by its standard library."""
    return (
        "import json, os\nfrom urllib.request import Request, urlopen\n\n"
        f"body = {dict(body)!r}\n"
        f"request = Request({address + '/v1/jobs'!r}, json.dumps(body).encode(), {{\n"
        '    "Authorization": "Bearer " + os.environ["SECATEUR_KEY"],\n'
        '    "Content-Type": "application/json",\n})\n'
        'print(json.load(urlopen(request))["id"])'
    )
