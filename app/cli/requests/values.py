"""Values as options and files write them, in YAML, and where in a request they belong."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any, NoReturn


def parse(text: str) -> Any:
    """The value that a text writes in YAML 1.2, of which JSON is a part; made of JSON's types.

    Raises:
        ValueError: it is not YAML, or JSON cannot hold it.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return _yaml(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_word(text: str) -> Any:
    """The same, of a value in an option; the text itself where it is no YAML, such as `*.head`."""
    try:
        return parse(text)
    except ValueError:
        return text


def with_value(inside: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of `inside` with a value at a path; what is missing on the way is made.

    Args:
        inside: a request, or a part of one.
        path: names of fields; a number in a list, or 0 to begin one.
        value: to be there.

    Raises:
        ValueError: a list on the way has no such place, or what is there has no parts.
    """
    if not path:
        return value
    if inside is not None and not isinstance(inside, dict | list):
        raise ValueError(f"it is {json.dumps(inside)}, which has no part {path[0]!r}; set it whole")
    first, *rest = path
    if isinstance(inside, list) or (first == "0" and not isinstance(inside, dict)):
        items = inside if isinstance(inside, list) else []
        if not first.isdecimal() or int(first) > len(items):
            raise ValueError(f"{first!r} is no place in a list of {len(items)}")
        index = int(first)
        old = items[index] if index < len(items) else None
        return [*items[:index], with_value(old, rest, value), *items[index + 1 :]]
    known = inside or {}
    return known | {first: with_value(known.get(first), rest, value)}


def _yaml(text: str) -> Any:
    # Not PyYAML: version 1.1 of the format reads the pattern 2:4 as 124, and 1e-4 as a text.
    from ruamel.yaml import YAML  # noqa: PLC0415  JSON does without
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415  the same

    try:
        found = YAML(typ="safe", pure=True).load(text)
        return json.loads(json.dumps(found, default=_date, allow_nan=False))
    except YAMLError as error:
        raise ValueError(_place(error)) from error
    except TypeError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _place(error: Any) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _date(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} is no value of a request")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
