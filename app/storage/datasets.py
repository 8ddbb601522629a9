"""Uploaded data sets on a local (or shared) disk, under the digest of their content.

```
<root>/datasets/incoming/...          what is being checked
<root>/datasets/<sha256>/info.json    what it holds
<root>/datasets/<sha256>/rows.jsonl
<root>/datasets/<sha256>/images/...
```
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from app.storage.names import Found, listed, remove

INFO = "info.json"
INCOMING = "incoming"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STALE = 24 * 3600.0  # seconds; no upload takes as long


class DatasetStore:
    """Data sets by id. One that is there is complete and does not change."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "datasets"

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """An empty directory on the store's disk; what is left of it goes in the end."""
        directory = Path(mkdtemp(dir=self.receiving()))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def receiving(self) -> Path:
        """The directory of uploads that are on their way, on the store's disk."""
        parent = self.directory / INCOMING
        parent.mkdir(parents=True, exist_ok=True)
        return parent

    def add(self, dataset_id: str, directory: Path, info: dict[str, Any]) -> bool:
        """Move a checked data set into place; False where it was there already."""
        (directory / INFO).write_text(json.dumps(info))
        place = self._place(dataset_id)
        try:
            directory.rename(place)
        except OSError:
            if self.info(dataset_id) is not None:
                return False
            self.drop(place)  # what is there is not whole
            directory.rename(place)
        return True

    def info(self, dataset_id: str) -> dict[str, Any] | None:
        """What the data set holds; None where there is none of that id, or it is not whole."""
        try:
            content = (self._place(dataset_id) / INFO).read_text()
            found: dict[str, Any] = json.loads(content)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a power cut leaves odd files
            return None
        return found

    def stored(self) -> Found[str]:
        """The ids of the data sets.

        Raises:
            StorageUnavailableError: the directory cannot be read.
        """
        found = listed(self.directory, _id_of)
        return Found(found.ours, found.foreign - {INCOMING})

    def discard(self, dataset_id: str) -> None:
        """Remove a data set.

        Raises:
            StorageUnavailableError: something of it cannot be removed.
        """
        remove(self._place(dataset_id))

    def abandoned(self) -> list[Path]:
        """What uploads left behind whose process was ended from outside."""
        oldest = time.time() - _STALE
        return [place for place in self.receiving().iterdir() if _changed(place) < oldest]

    def drop(self, place: Path) -> None:
        """Remove whatever lies there.

        Raises:
            OSError: it cannot be removed.
        """
        if place.is_dir() and not place.is_symlink():
            remove(place)
        else:
            place.unlink(missing_ok=True)

    def _place(self, dataset_id: str) -> Path:
        return self.directory / dataset_id.removeprefix("sha256:")


def _id_of(name: str) -> str | None:
    return f"sha256:{name}" if _DIGEST.fullmatch(name) else None


def _changed(place: Path) -> float:
    try:
        return place.lstat().st_mtime
    except FileNotFoundError:  # its upload has ended meanwhile
        return time.time()
