"""Tracebacks as plain text: no local variables, bounded in frames, causes and characters.

The standard library's own would format a whole chain of causes and suggest names by looking into
the objects at hand, whatever that takes.
"""

import itertools
import traceback
from collections.abc import Iterator

from app.telemetry.redaction import scrub

FRAMES = 20  # the innermost ones of each exception
CAUSES = 5
MESSAGE = 2000  # characters of an exception's own text
LONGEST = 16384


def render(error: BaseException) -> str:
    """Causes first, as Python prints them; without secrets."""
    told = list(itertools.islice(_chain(error), CAUSES + 1))
    parts = ["[earlier causes are left out]"] if len(told) > CAUSES else []
    for each, link in reversed(told[:CAUSES]):
        parts += [_one(each), link] if link else [_one(each)]
    return scrub("\n".join(parts), LONGEST)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The exception, what caused it, and so on; each with how it led to the one before."""
    current: BaseException | None = error
    link, seen = "", set[int]()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current, link
        if current.__cause__ is not None:
            current, link = current.__cause__, "which was the cause of:"
        elif not current.__suppress_context__:
            current, link = current.__context__, "while that was handled:"
        else:
            current = None


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-FRAMES)
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__"}:
        name = f"{kind.__module__}.{name}"
    lines = ["Traceback (innermost call last):\n", *frames.format(), f"{name}: {message(error)}"]
    if isinstance(error, BaseExceptionGroup):
        lines += (
            f"\n  with {type(e).__qualname__}: {message(e)}" for e in error.exceptions[:CAUSES]
        )
    return "".join(lines)


def message(error: BaseException) -> str:
    """What an exception says of itself, without secrets."""
    try:
        text = str(error)
    except Exception as inner:  # noqa: BLE001  a broken exception is still to be told of
        text = f"<its text cannot be had: {type(inner).__name__}>"
    return scrub(text, MESSAGE)
