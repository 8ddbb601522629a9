"""Fields of a form from a JSON Schema, and the values that come back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "parameter."


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter; a field that is left empty has the default.

    Attributes:
        kind: `number`, `choice`, `flag`, or `text`, which may be JSON.
        default: as text; empty where there is none.
        hint: what it does, and its bounds.
    """

    name: str
    label: str
    kind: str
    default: str
    hint: str
    choices: tuple[str, ...] = ()
    whole: bool = False


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """One field for each property of an object."""
    return [_field(name, _plain(each)) for name, each in schema.get("properties", {}).items()]


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without the null that means: by default."""
    for word in ("anyOf", "oneOf"):
        branches = [each for each in schema.get(word, ()) if each.get("type") != "null"]
        if len(branches) == 1:
            return {**schema, **branches[0]}
    return dict(schema)


def _field(name: str, schema: Mapping[str, Any]) -> Field:
    default = schema.get("default")
    shown = "" if default is None else json.dumps(default).strip('"')
    label = name.replace("_", " ").capitalize()
    hint = " ".join(filter(None, (schema.get("description", ""), _bounds(schema))))
    if "enum" in schema:
        return Field(name, label, "choice", shown, hint, tuple(map(str, schema["enum"])))
    kind = {"integer": "number", "number": "number", "boolean": "flag"}.get(
        schema.get("type", ""), "text"
    )
    return Field(name, label, kind, shown, hint, whole=schema.get("type") == "integer")


def _bounds(schema: Mapping[str, Any]) -> str:
    words = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    )
    told = [f"{word} {schema[name]:g}" for name, word in words if name in schema]
    return f"({', '.join(told)})" if told else ""


def value_of(text: str) -> Any:
    """What somebody typed: a number, true, false or JSON where it is one, else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if value is None else value


def text_of(value: Any) -> str:
    """The same the other way."""
    return value if isinstance(value, str) else json.dumps(value)
