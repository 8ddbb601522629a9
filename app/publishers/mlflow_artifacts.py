"""Puts files where an MLflow server keeps them, for servers that leave that to their clients."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import S3Store

from app.domain.publications import PublishingError

if TYPE_CHECKING:
    from obstore.store import S3Config

PART = 16 << 20  # bytes
SERVE = "have MLflow serve artifacts (`mlflow server --artifacts-destination`)"

Put = Callable[[str, bytes | Path], None]


class _Place(NamedTuple):
    scheme: str
    host: str
    path: PurePosixPath

    def holds(self, other: "_Place") -> bool:
        """Whether the other one is in it."""
        return (
            self[:2] == other[:2]
            and ".." not in other.path.parts
            and other.path.is_relative_to(self.path)
        )


def artifact_store(folders: Sequence[str], allowed: Sequence[str]) -> Put:
    """What puts a file at an address under one of the folders.

    The server names them, and whoever runs this service says which places it may name: this
    process could write to more than it should for a server that is not the operator's own.

    A bucket is opened as MLflow's own clients open it: with the credentials in AWS_ACCESS_KEY_ID
    and its like. A directory has to be here already: one that only the server has would be written
    to the wrong machine.

    Args:
        folders: that the server names.
        allowed: directories and s3:// prefixes.

    Raises:
        PublishingError: this process may not, or cannot, write there.
    """
    roots = {_root(_place(folder), allowed, folder) for folder in folders}
    if len(roots) > 1:
        raise PublishingError(f"MLflow keeps artifacts of one run in several places; {SERVE}")
    root = roots.pop()
    return _bucket(root) if root.scheme == "s3" else _directory(Path(root.path))


def _root(place: _Place, allowed: Sequence[str], folder: str) -> _Place:
    for root in map(_place, allowed):
        if root.holds(place):
            return root
    raise PublishingError(
        f"MLflow wants artifacts written to {folder}, which the destination does not allow: name "
        f"the place in its `artifacts`, or {SERVE}"
    )


def _bucket(root: _Place) -> Put:
    # Region and credentials are those of the environment, as is the address of other S3s.
    config: S3Config = {"virtual_hosted_style_request": False}
    if named := os.environ.get("MLFLOW_S3_ENDPOINT_URL"):
        config["endpoint"] = named
    bucket = S3Store(root.host, config=config, client_options={"allow_http": True})

    def put(uri: str, content: bytes | Path) -> None:
        key = str(_place(uri).path).lstrip("/")
        obstore.put(bucket, key, content, chunk_size=PART, max_concurrency=4)

    return put


def _directory(root: Path) -> Put:
    if not root.is_dir():
        raise PublishingError(
            f"MLflow keeps artifacts in {root}, which this machine does not have: share that "
            f"directory, or {SERVE}"
        )

    def put(uri: str, content: bytes | Path) -> None:
        target = Path(_place(uri).path)
        if not target.resolve().is_relative_to(root.resolve()):  # a link leads out of it
            raise PublishingError(f"{target} is not in {root}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            shutil.copyfile(content, partial)
        partial.replace(target)

    return put


def _place(uri: str) -> _Place:
    parts = urlsplit(uri)
    path = parts.path if parts.scheme == "s3" else unquote(parts.path)
    return _Place(parts.scheme or "file", parts.netloc, PurePosixPath(path or "/"))
