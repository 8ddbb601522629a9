"""Entries of a config.json, which may hold anything."""

from collections.abc import Mapping
from typing import Any

_MOST = 1 << 31


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part such as `text_config`; the whole where it has none of that name."""
    found = config.get(name)
    return found if isinstance(found, dict) else config


def number(config: Mapping[str, Any], name: str, most: int = _MOST) -> int:
    """A positive integer up to `most`; 0 where the entry is missing or something else."""
    value = config.get(name)
    return value if type(value) is int and 0 < value <= most else 0


def architecture(config: Mapping[str, Any]) -> str:
    """The model's class; empty where the configuration names none."""
    found = config.get("architectures")
    first = found[0] if isinstance(found, list) and found else ""
    return first if isinstance(first, str) else ""
