"""The files of a finished run: hashed, described, listed in `manifest.json`."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.domain.jobs import Artifact

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of a run. `path` is relative, with forward slashes."""

    path: str
    size: int
    sha256: str
    media_type: str

    def published(self, job_id: str, attempt: int) -> Artifact:
        """The file as an artifact of a job."""
        return Artifact(job_id=job_id, attempt=attempt, **asdict(self))


def write_json(directory: Path, name: str, content: Any) -> None:
    """Write a file that people may read as well."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / name).write_text(text + "\n", encoding="utf-8")


def close_run(directory: Path, provenance: Mapping[str, Any]) -> list[OutputFile]:
    """Write the manifest over everything that lies in the directory; returns all files.

    Args:
        directory: the staged files.
        provenance: how they came about. Without times, so that the same run gives the same file.
    """
    files = [_describe(directory, path) for path in sorted(directory.rglob("*")) if path.is_file()]
    listed = {file.path: {"size": file.size, "sha256": file.sha256} for file in files}
    write_json(directory, MANIFEST, {"format": FORMAT, "files": listed, **provenance})
    return [*files, _describe(directory, directory / MANIFEST)]


def _describe(directory: Path, file: Path) -> OutputFile:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return OutputFile(
        path=file.relative_to(directory).as_posix(),
        size=file.stat().st_size,
        sha256=digest,
        media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
    )
