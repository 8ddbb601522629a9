"""Bars on terminals and in notebooks; none where nobody looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def is_watched() -> bool:
    """Is there a terminal, or a notebook?"""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


@contextmanager
def bar(what: str, total: int, unit: str, *, shown: bool) -> Iterator[Callable[[int, str], None]]:
    """A function that sets how much is done, and the word beside the bar."""
    if not shown:
        yield lambda _done, _word: None
        return
    with _tqdm()(desc=what, total=total, unit=unit, unit_scale=unit == "B") as made:

        def show(done: int, word: str) -> None:
            made.n = done
            made.set_postfix_str(word, refresh=False)
            made.refresh()

        yield show


def _tqdm() -> Any:
    if "ipykernel" in sys.modules and find_spec("ipywidgets") is None:
        return import_module("tqdm").tqdm  # text, where a notebook has no widgets
    return import_module("tqdm.auto").tqdm
