"""`/console/static`: scripts, the style sheet, and the libraries of others at pinned versions."""

import hashlib
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from app.reports.html import STYLES

PREFIX = "/console/static"
_FOLDERS = (Path(str(files("app.console") / "static")), Path(str(STYLES)))
_FILES = {
    path.relative_to(folder).as_posix(): path
    for folder in _FOLDERS
    for path in folder.rglob("*")
    if path.is_file()
}
_VERSIONS = {
    name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in _FILES.items()
}
# An address tells the content, so a browser need not ask again.
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(prefix=PREFIX, include_in_schema=False)


def address(name: str) -> str:
    """Where a file is, with its version."""
    return f"{PREFIX}/{_VERSIONS[name]}/{name}"


@router.get("/{version}/{name:path}")
def file(version: str, name: str) -> FileResponse:
    """One file."""
    if _VERSIONS.get(name) != version:
        raise HTTPException(404, f"there is no file {name!r} of this version")
    return FileResponse(_FILES[name], headers=_HEADERS)
