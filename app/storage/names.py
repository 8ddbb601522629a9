"""How entries of a store are called, and which of those found there are the service's own.

Anything may lie beside them: `lost+found` of a disk of its own, `.DS_Store`, somebody's files in
the same bucket. What has no name that the service gives is not its to remove.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from app.errors import StorageUnavailableError

_JOB = re.compile(r"job_[0-9a-f]{32}")
_ATTEMPT = re.compile(rf"({_JOB.pattern})-([1-9][0-9]{{0,8}})", re.ASCII)

Own = TypeVar("Own")


@dataclass(frozen=True, slots=True)
class Found(Generic[Own]):
    """What lies in a store.

    Attributes:
        ours: what the service has put there.
        foreign: names of everything else, which is left alone.
    """

    ours: frozenset[Own]
    foreign: frozenset[str]


def attempt_name(job_id: str, attempt: int) -> str:
    """The directory, or the prefix of the keys, of an attempt's files."""
    return f"{job_id}-{attempt}"


def parse_attempt(name: str) -> tuple[str, int] | None:
    """The (job id, attempt) of such a name; None where it is none."""
    match = _ATTEMPT.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def parse_job(name: str) -> str | None:
    """The job id that a name is; None where it is none."""
    return name if _JOB.fullmatch(name) else None


def sorted_out(names: Iterable[str], parse: Callable[[str], Own | None]) -> Found[Own]:
    """Which of the names are the service's own."""
    parsed = {name: parse(name) for name in names}
    return Found(
        frozenset(own for own in parsed.values() if own is not None),
        frozenset(name for name, own in parsed.items() if own is None),
    )


def some(names: Collection[str], most: int = 5) -> str:
    """The first few of the names, to be read by people."""
    shown = [ascii(name)[:100] for name in sorted(names)[:most]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def listed(directory: Path, parse: Callable[[str], Own | None]) -> Found[Own]:
    """The entries of a directory; only real directories can be the service's own.

    Raises:
        StorageUnavailableError: the directory is there and cannot be read.
    """

    def names() -> Iterator[tuple[str, bool]]:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.name, entry.is_dir(follow_symlinks=False)

    try:
        found = list(names())
    except FileNotFoundError:
        return Found(frozenset(), frozenset())
    except OSError as error:
        raise StorageUnavailableError(f"{directory}: {error.strerror}") from error
    own = sorted_out((name for name, is_directory in found if is_directory), parse)
    return Found(own.ours, own.foreign | {name for name, is_dir in found if not is_dir})


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it; somebody else may be removing it as well.

    Raises:
        StorageUnavailableError: something in it cannot be removed.
    """
    try:
        if sys.version_info >= (3, 12):
            shutil.rmtree(directory, onexc=lambda _, __, error: _unless_gone(error))
        else:
            shutil.rmtree(directory, onerror=lambda _, __, info: _unless_gone(info[1]))
    except OSError as error:
        raise StorageUnavailableError(f"{error.filename}: {error.strerror}") from error


def _unless_gone(error: Any) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
