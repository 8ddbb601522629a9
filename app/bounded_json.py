"""JSON that others wrote: parsed within bounds that are looked at before it is parsed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_DIGITS = 20  # of an integer: more than 64 bits hold


class JsonError(ValueError):
    """The text is no JSON, or more of it than is accepted. The message is made for people."""


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much JSON is accepted.

    Attributes:
        bytes: of the text.
        values: brackets, braces and commas, those inside strings included; they bound the memory
            that the parsed values take (about 250 bytes each at the most).
        depth: of nesting.
        unique: whether a name that an object has twice is refused; else its last value counts.
    """

    bytes: int
    values: int = 200_000
    depth: int = 32
    unique: bool = True


def parse_json(content: bytes, limits: JsonLimits) -> Any:
    """Parse JSON in UTF-8, with or without a byte order mark.

    Raises:
        JsonError: it is none, or exceeds a limit. No other exception leaves.
    """
    if len(content) > limits.bytes:
        raise JsonError(f"longer than {limits.bytes} bytes")
    if sum(map(content.count, (b"[", b"{", b","))) > limits.values:
        raise JsonError(f"more than {limits.values} values")
    try:
        found = json.loads(
            content.decode("utf-8-sig"),
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object if limits.unique else None,
        )
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"not JSON ({error.msg[0].lower()}{error.msg[1:]}: {where})") from error
    except RecursionError:
        raise JsonError(f"nested more than {limits.depth} deep") from None
    _check_depth(found, limits.depth)
    return found


def parse_object(content: bytes, limits: JsonLimits) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        JsonError: as for `parse_json`, or the value is no object.
    """
    found = parse_json(content, limits)
    if not isinstance(found, dict):
        raise JsonError("not a JSON object")
    return found


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise JsonError(f"a number of {len(text)} digits")
    return int(text)


def _constant(name: str) -> Any:
    raise JsonError(f"{name} is no JSON number")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise JsonError(f"an object has {twice[:100]!r} twice")
    return found


def _check_depth(value: Any, most: int) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        if not level:
            return
        level = [inner for outer in level for inner in _members(outer)]
    if level:
        raise JsonError(f"nested more than {most} deep")


def _members(value: Any) -> Sequence[Any]:
    """Objects and lists inside an object or a list."""
    members = value.values() if isinstance(value, dict) else value
    return [each for each in members if isinstance(each, dict | list)]
