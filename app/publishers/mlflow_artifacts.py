"""Puts files where an MLflow server keeps them, for servers that leave that to their clients."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import S3Store

from app.domain.publications import PublishingError

if TYPE_CHECKING:
    from obstore.store import S3Config

PART = 16 << 20  # bytes

Put = Callable[[str, bytes | Path], None]


def artifact_store(folder: str) -> Put:
    """What puts a file at an address under `folder`.

    A bucket is opened as MLflow's own clients open it: with the credentials in AWS_ACCESS_KEY_ID
    and its like. A directory has to be here already: one that only the server has would be written
    to the wrong machine.

    Raises:
        PublishingError: this process cannot write there.
    """
    scheme = urlsplit(folder).scheme
    if scheme == "s3":
        return _bucket(folder)
    if scheme in {"", "file"}:
        return _directory(folder)
    raise PublishingError(
        f"MLflow keeps artifacts at {folder}; have it serve them (`mlflow server "
        "--artifacts-destination`), or keep them in an s3:// bucket"
    )


def _bucket(folder: str) -> Put:
    parts = urlsplit(folder)
    # Region and credentials are those of the environment, as is the address of other S3s.
    config: S3Config = {"virtual_hosted_style_request": False}
    if named := os.environ.get("MLFLOW_S3_ENDPOINT_URL"):
        config["endpoint"] = named
    bucket = S3Store(parts.netloc, config=config, client_options={"allow_http": True})

    def put(uri: str, content: bytes | Path) -> None:
        key = urlsplit(uri).path.lstrip("/")
        obstore.put(bucket, key, content, chunk_size=PART, max_concurrency=4)

    return put


def _directory(folder: str) -> Put:
    # .../experiment/run/artifacts: whoever writes first makes these three, but not what holds them.
    root = _local(folder).parents[2]
    if not root.is_dir():
        raise PublishingError(
            f"MLflow keeps artifacts in {root}, which this machine does not have: share that "
            "directory, or have MLflow serve them (`mlflow server --artifacts-destination`)"
        )

    def put(uri: str, content: bytes | Path) -> None:
        target = _local(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            shutil.copyfile(content, partial)
        partial.replace(target)

    return put


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
