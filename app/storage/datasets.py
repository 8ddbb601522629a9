"""Uploaded data sets on a local (or shared) disk, under the digest of their content.

```
<root>/datasets/incoming/...          what is being checked
<root>/datasets/<sha256>/info.json    what it holds
<root>/datasets/<sha256>/rows.jsonl
<root>/datasets/<sha256>/images/...
```
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

INFO = "info.json"


class DatasetStore:
    """Data sets by id. One that is there is complete and does not change."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "datasets"

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """An empty directory on the store's disk; what is left of it goes in the end."""
        parent = self.directory / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
        directory = Path(mkdtemp(dir=parent))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def add(self, dataset_id: str, directory: Path, info: dict[str, Any]) -> bool:
        """Move a checked data set into place; False where it was there already."""
        (directory / INFO).write_text(json.dumps(info))
        try:
            directory.rename(self._place(dataset_id))
        except OSError:
            if self.info(dataset_id) is None:
                raise
            return False
        return True

    def info(self, dataset_id: str) -> dict[str, Any] | None:
        """What the data set holds; None where there is none of that id."""
        try:
            content = (self._place(dataset_id) / INFO).read_text()
        except FileNotFoundError:
            return None
        found: dict[str, Any] = json.loads(content)
        return found

    def _place(self, dataset_id: str) -> Path:
        return self.directory / dataset_id.removeprefix("sha256:")
