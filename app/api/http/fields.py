"""The field of a request that an error is about, as its model declares it."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.messages import near_names


def advice(model: Any, location: Sequence[str | int], kind: str) -> str:
    """What to add to the sentence about a field: near names, or what a text of a form means.

    Args:
        model: annotation of the body.
        location: of the field in it, as pydantic has it.
        kind: pydantic's type of error.
    """
    *place, last = location or ("",)
    siblings = fields_at(model, place)
    if kind == "extra_forbidden":
        return near_names(str(last), siblings)
    field = siblings.get(str(last))
    if kind == "string_pattern_mismatch" and field is not None and field.description:
        return f": {field.description}"
    return ""


def fields_at(model: Any, place: Sequence[str | int]) -> dict[str, FieldInfo]:
    """The fields that an object at a place of the body can have; of a union, those of all kinds."""
    found = list(_models(model))
    for part in place:
        inside = [each.model_fields[part] for each in found if part in each.model_fields]
        if inside:  # else a place in a list, or the name of a kind
            found = [each for field in inside for each in _models(field.annotation)]
    return {name: field for each in found for name, field in each.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)
