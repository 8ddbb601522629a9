"""A form and the body of `POST /v1/sweeps` that it stands for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.console.forms import SHARED, Places, placed, validated
from app.console.schema_fields import value_of
from app.domain.sweeps import SweepRequest

PLACES: Places = {
    **SHARED,
    "objective_metric": ("objective", "metric"),
    "objective_max_drop": ("objective", "max_drop"),
}
# Lists that have a field, or boxes, of their own: where mistakes in them are told.
_LISTS: Places = {"methods": ("methods",), "sparsities": ("sparsities",), "patterns": ("recipes",)}


def body_of(field: Callable[[str], str], methods: Sequence[str]) -> dict[str, Any]:
    """The body that a form means; what was left empty is left out.

    Args:
        field: the text of a field.
        methods: names that were ticked; the further fields may have more, with settings.

    Raises:
        FormError: JSON that is none, or a label without a value.
    """
    body = placed(field, PLACES)
    if methods:
        given = body.get("methods")
        body["methods"] = [
            *({"method": each} for each in methods),
            *(given if isinstance(given, list) else ()),
        ]
    if sparsities := _items(field("sparsities")):
        body["sparsities"] = [value_of(each) for each in sparsities]
    if patterns := _items(field("patterns")):
        body["recipes"] = [{"pattern": each} for each in patterns]
    return body


def _items(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def request_of(body: Mapping[str, Any]) -> SweepRequest:
    """The body as a request.

    Raises:
        FormError: it is none; every issue is told.
    """
    return validated(SweepRequest, body, {**PLACES, **_LISTS})
