"""Forms and the bodies of requests that they stand for; what was left empty is left out."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.console.schema_fields import value_of
from app.errors import SecateurError
from app.messages import in_words, place_of

_MORE = JsonLimits(bytes=64 << 10)

Places = Mapping[str, tuple[str, ...]]
"""Where each field of a form stands in the body."""
Request = TypeVar("Request", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with one field; `field` is empty where it is not one of the form's."""

    field: str
    name: str
    text: str


class FormError(Exception):
    """The form is no request yet."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__("; ".join(f"{each.name}: {each.text}" for each in wrong))
        self.wrong = wrong


OF_THE_CALLER = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
"""What is refused with these is not mended in the form."""


def mistakes(error: FormError | SecateurError) -> list[Wrong]:
    """What the form says where it is refused."""
    return error.wrong if isinstance(error, FormError) else [Wrong("", "", str(error))]


# Fields of both forms, and those whose text is never read as JSON.
SHARED: Places = {
    "model": ("model",),
    "calibration_set": ("calibration", "set"),
    "calibration_samples": ("calibration", "samples"),
    "evaluation_set": ("evaluation", "set"),
    "evaluation_samples": ("evaluation", "samples"),
    "measure": ("measure",),
    "worker_class": ("worker_class",),
    "priority": ("priority",),
}
_TEXTS = {"model", "method", "pattern", "calibration_set", "evaluation_set", "gate_metric",
          "objective_metric", "publish_as", "worker_class"}  # fmt: skip


def placed(field: Callable[[str], str], places: Places) -> dict[str, Any]:
    """The body that a form's fields, its labels and its further fields mean.

    Args:
        field: the text of a field.
        places: of the fields; labels and `more`, further fields as JSON, are in every form.

    Raises:
        FormError: the further fields are no JSON object, or a label has no value.
    """
    try:
        body = parse_object(field("more").encode(), _MORE) if field("more") else {}
    except JsonError as error:
        raise FormError([Wrong("more", "Further fields", str(error))]) from error
    for name, place in places.items():
        if text := field(name):
            told = text if name in _TEXTS else value_in(name, ".".join(place), text)
            _put(body, place, told)
    if labels := field("labels"):
        body["labels"] = dict(_label(each) for each in labels.split(",") if each.strip())
    return body


def value_in(field: str, name: str, text: str) -> Any:
    """The value of what somebody typed.

    Raises:
        FormError: it begins as JSON does, and is none.
    """
    value = value_of(text)
    if isinstance(value, str) and text.startswith(("{", "[")):
        raise FormError([Wrong(field, name, "begins as JSON does, and is not valid JSON")])
    return value


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        told = f"must have the form name=value, with commas between; {text.strip()!r} has no ="
        raise FormError([Wrong("labels", "labels", told)])
    return key.strip(), value.strip()


def _put(body: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *outer, last = place
    for name in outer:
        inner = body.get(name)
        body[name] = inner if isinstance(inner, dict) else {}
        body = body[name]
    body[last] = value


def validated(kind: type[Request], body: Mapping[str, Any], places: Places) -> Request:
    """The body as a request.

    Raises:
        FormError: it is none; every issue is told.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise FormError([_wrong(issue, body, places) for issue in error.errors()]) from error


def _wrong(issue: Any, body: Any, places: Places) -> Wrong:
    place = tuple(map(str, place_of(issue, body)))
    known = {**places, "labels": ("labels",)}
    field = next((name for name, start in known.items() if place[: len(start)] == start), "")
    return Wrong(field, ".".join(place) or "The request", in_words(issue))


def as_curl(url: str, body: Mapping[str, Any]) -> str:
    """The same by curl."""
    text = shlex.quote(json.dumps(body))
    return (
        f"curl {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $SECATEUR_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {text}"
    )


def as_python(url: str, body: Mapping[str, Any]) -> str:
    """The same in Python, by its standard library."""
    return (
        "import json, os\nfrom urllib.request import Request, urlopen\n\n"
        f"body = {dict(body)!r}\n"
        f"request = Request({url!r}, json.dumps(body).encode(), {{\n"
        '    "Authorization": "Bearer " + os.environ["SECATEUR_KEY"],\n'
        '    "Content-Type": "application/json",\n})\n'
        'print(json.load(urlopen(request))["id"])'
    )
