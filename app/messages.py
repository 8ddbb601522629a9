"""Sentences for clients, made from what libraries say, and text that is fit to be stored."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

_TYPES = frozenset(get_args(ErrorType))
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no field that is known here",
    "string_type": "must be a text",
    "string_unicode": "must be a text in UTF-8",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
    "finite_number": "must be a finite number",
    "union_tag_not_found": "must say of which kind it is",
}
_FAMILIES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "datetime": "must be a date and time with its zone, such as 2026-11-02T09:30:00Z",
    "timezone": "must be a date and time with its zone, such as 2026-11-02T09:30:00Z",
    "date": "must be a date, such as 2026-11-02",
    "url": "must be an address, such as https://example.org/hook",
}
_BOUNDS = {
    "greater_than": ("gt", "must be above {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be below {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_short": ("min_length", "must have {} characters at least"),
    "string_too_long": ("max_length", "must have {} characters at most"),
    "too_short": ("min_length", "must have {} entries at least"),
    "too_long": ("max_length", "must have {} entries at most"),
    "string_pattern_mismatch": ("pattern", "must have the form {}"),
    "enum": ("expected", "must be {}"),
    "literal_error": ("expected", "must be {}"),
    "union_tag_invalid": ("expected_tags", "must be of one of these kinds: {}"),
    "multiple_of": ("multiple_of", "must be a multiple of {}"),
}
_HUNDRED = 100


def in_words(issue: Mapping[str, Any]) -> str:
    """What one of `ValidationError.errors()` means; a sentence of our own comes as it is."""
    kind, context = issue["type"], issue.get("ctx") or {}
    if kind not in _TYPES:
        return str(issue["msg"])
    if kind in {"value_error", "assertion_error"}:
        return words_of(context["error"]) if "error" in context else "is not valid here"
    if kind == "json_invalid":
        return "is not valid JSON"
    value = issue.get("input")
    if kind in _BOUNDS:
        name, sentence = _BOUNDS[kind]
        return sentence.format(context.get(name, "something else")) + _share(value, context)
    words = _WORDS.get(kind) or _FAMILIES.get(kind.partition("_")[0], "is not valid here")
    return words + _percent(value)


def place_of(issue: Mapping[str, Any], body: Any) -> list[str | int]:
    """Where an issue is in the body, without the names that pydantic gives to branches of unions.

    Args:
        issue: one of `ValidationError.errors()`.
        body: what was validated.
    """
    found: list[str | int] = []
    for number, part in enumerate(issue["loc"], 1):
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            lacking = issue["type"] == "missing" and number == len(issue["loc"])
            if not lacking and (found or not isinstance(body, dict)):
                continue
        found.append(part)
    return found


def percent_hint(value: float) -> str:
    """How to write a percentage as a share; empty where the value is none."""
    return f"; write {value / _HUNDRED:g} for {value:g} %" if 1 < value <= _HUNDRED else ""


def _share(value: Any, context: Mapping[str, Any]) -> str:
    most = context.get("le", context.get("lt"))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return percent_hint(value) if number and most == 1 else ""


def _percent(value: Any) -> str:
    if not (isinstance(value, str) and value.strip().endswith("%")):
        return ""
    try:
        return percent_hint(float(value.strip()[:-1]))
    except ValueError:
        return ""


MOST = 300  # characters

_ADDRESS = re.compile(r"<([\w.]+)(?: object)? at 0x[0-9a-fA-F]+>|\b0x[0-9a-fA-F]{6,}\b")
_PATH = re.compile(r"(?<![\w:/.<])/(?:[\w.@+-]+/)+(?=[\w.@+-])")
_BYTES = re.compile(r"<_io\.\w+[^>]*>")
_INTERPRETER = re.compile(r"Exceeds the limit|set_int_max_str_digits|recursion depth")


def words_of(error: BaseException, directory: Path | None = None, name: str = "") -> str:
    """The message of an error in one line: no addresses, no paths of this machine, not too long.

    Args:
        error: anybody's.
        directory: whose path is not told.
        name: what to call it.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if directory is not None:
        text = text.replace(str(directory), name)
    if _INTERPRETER.search(text):
        text = "a number is too long, or brackets are nested too deeply"
    text = " ".join(_PATH.sub("", _ADDRESS.sub("", _BYTES.sub("it", text))).split())
    text = text if len(text) <= MOST else f"{text[:MOST].rsplit(' ', 1)[0]} ..."
    return text or type(error).__name__


def printable(text: str, most: int) -> str:
    """The text as a database, a log and a terminal can hold it: one line, cut to a length."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])[:most]


def near_names(name: str, known: Iterable[str]) -> str:
    """Tail of an error message: ` Did you mean A or B?`, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
