"""Checkpoints of one job on disk: what a lost attempt leaves, and the next one continues from.

```
<directory>/key.json                    what the entries belong to
<directory>/<name>.<sha256>.safetensors  one entry; its values are JSON in the file's metadata
<directory>/<part>/                     entries that are dropped together
```
A file appears under its name whole, by a rename, and is read only if its content has the digest
the name tells. Nothing is synced: the death of a process loses nothing, and what a crash of the
machine leaves half-written is found out by its digest. Several attempts may write here at once (one
of them has lost its lease): both write the same.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkstemp
from typing import Any
from urllib.parse import quote

from safetensors import safe_open

from app.domain.jobs import EventLevel, EventType, NewEvent
from workers.pipeline.context import RunContext
from workers.pruning.models.files import write_tensors
from workers.pruning.resume import Entry

KEY = "key.json"
_SUFFIX = ".safetensors"
_VALUES = "values"
_NEW = "new-"


class DiskCheckpoints:
    """The entries of one job. See `Checkpoints`."""

    def __init__(
        self,
        directory: Path,
        key: Mapping[str, Any],
        *,
        limit: int,
        on_kept: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        """Take over what an earlier attempt left there, if it belongs to the same key.

        Args:
            directory: of this job alone; made when the first entry comes.
            key: everything the entries depend on, named in a user's words; JSON.
            limit: most bytes all entries may take; what comes beyond is not kept.
            on_kept: called after every entry that was not there before.
            warn: told what was discarded, or could not be kept.
        """
        self._directory = directory
        self._key: dict[str, Any] = json.loads(json.dumps(key))
        self._limit = limit
        self._kept = on_kept
        self._warn = warn
        self._full = False
        if directory.is_dir() and (reason := self._foreign()):
            shutil.rmtree(directory)
            warn(f"what an earlier attempt finished is discarded: {reason}")
        for unfinished in directory.glob(f"{_NEW}*"):
            unfinished.unlink(missing_ok=True)

    def get(self, name: str) -> Entry | None:
        """What was put under the name; None where there is nothing, or it is damaged."""
        for file in self._files(name):
            try:
                if _digest(file) == file.name.split(".")[-2]:
                    return _read(file)
            except FileNotFoundError:  # another attempt has replaced it meanwhile
                continue
            self._warn(f"{name} of an earlier attempt is damaged and is made anew")
            file.unlink(missing_ok=True)
        return None

    def put(self, name: str, entry: Entry) -> None:
        """Keep the entry; where the disk or the limit has no room, the run goes on without."""
        size = sum(tensor.nbytes for tensor in entry.tensors.values())
        if self._full or self._used() + size > self._limit:
            return self._give_up(f"more than {self._limit} bytes")
        try:
            self._write(name, entry)
        except OSError as error:
            return self._give_up(error.strerror or str(error))
        return self._kept()

    def drop(self, name: str) -> None:
        """Forget the entry."""
        for file in self._files(name):
            file.unlink(missing_ok=True)

    def part(self, name: str) -> "DiskCheckpoints":
        """Entries of the same key in a directory of their own, which has half the room."""
        try:
            self._claim()
        except OSError as error:
            self._give_up(error.strerror or str(error))
        return DiskCheckpoints(
            self._directory / quote(name, safe=""),
            self._key,
            limit=self._limit // 2,
            on_kept=self._kept,
            warn=self._warn,
        )

    def forget_part(self, name: str) -> None:
        """Drop every entry of a part."""
        shutil.rmtree(self._directory / quote(name, safe=""), ignore_errors=True)

    def _claim(self) -> None:
        """Say whose directory it is."""
        if not (self._directory / KEY).exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            self._place(KEY, lambda file: _write_json(file, self._key))

    def _write(self, name: str, entry: Entry) -> None:
        earlier = self._files(name)
        self._claim()
        metadata = {_VALUES: json.dumps(entry.values)}
        placed = self._place(
            f"{_escaped(name)}.{{}}{_SUFFIX}",
            lambda file: write_tensors(file, entry.tensors, metadata),
        )
        for file in earlier:
            if file != placed:
                file.unlink(missing_ok=True)

    def _place(self, name: str, write: Callable[[Path], None]) -> Path:
        """Write beside, then rename; `{}` in the name stands for the digest."""
        handle, path = mkstemp(prefix=_NEW, dir=self._directory)
        os.close(handle)
        file = Path(path)
        try:
            write(file)
            return file.rename(self._directory / name.format(_digest(file)))
        finally:
            file.unlink(missing_ok=True)

    def _files(self, name: str) -> list[Path]:
        if not self._directory.is_dir():
            return []
        start = f"{_escaped(name)}."
        return [
            file
            for file in sorted(self._directory.iterdir())
            if file.name.startswith(start) and file.name.count(".") == start.count(".") + 1
        ]

    def _used(self) -> int:
        if not self._directory.is_dir():
            return 0
        return sum(entry.stat().st_size for entry in os.scandir(self._directory))

    def _foreign(self) -> str | None:
        """Why the entries belong to something else."""
        try:
            theirs = json.loads((self._directory / KEY).read_text())
        except (OSError, ValueError):
            return "it does not say what it belongs to"
        names = {*theirs, *self._key}
        other = sorted(name for name in names if theirs.get(name) != self._key.get(name))
        return f"it belongs to another {', another '.join(other)}" if other else None

    def _give_up(self, reason: str) -> None:
        if not self._full:
            self._full = True
            self._warn(f"finished blocks are no longer kept for a later attempt: {reason}")


def open_checkpoints(context: RunContext, key: Mapping[str, Any]) -> DiskCheckpoints:
    """The checkpoints of a run.

    Args:
        context: of the run.
        key: everything that decides what comes out, named in a user's words.
    """
    found = DiskCheckpoints(
        context.checkpoints.directory,
        key,
        limit=context.checkpoints.max_bytes,
        on_kept=context.report.kept,
        warn=lambda text: context.report.event(
            NewEvent(EventType.WARNING, text, EventLevel.WARNING)
        ),
    )
    if context.checkpoints.directory.is_dir():
        text = "going on from what an earlier attempt has finished"
        context.report.event(NewEvent(EventType.LOG, text))
    return found


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def _read(file: Path) -> Entry:
    with safe_open(file, framework="pt") as stored:
        values = json.loads(stored.metadata()[_VALUES])
        return Entry(values, {key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118  no dict


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _escaped(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")
