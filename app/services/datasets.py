"""What a client does with the data sets of its project: upload, look, list, forget."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection, Engine

from app.db import datasets, projects
from app.domain.projects import Caller
from app.recipes.data import (
    UPLOADED,
)
from app.storage.datasets import DatasetStore
from app.uploads.errors import DatasetNotFoundError
from app.uploads.ingest import Ingested, ingest
from app.uploads.limits import UploadLimits


def upload(
    engine: Engine, caller: Caller, store: DatasetStore, file: Path, limits: UploadLimits
) -> tuple[Ingested, bool]:
    """Check a file, store it and give it to the caller's project.

    Returns:
        What it holds, and whether it is new to the project.

    Raises:
        DatasetError: what is wrong with it. Nothing is stored then.
    """
    with store.incoming() as directory:
        content = directory / "content"
        content.mkdir()
        found = ingest(file, content, limits)
        with engine.begin() as connection:
            # What was deleted may lie there still, about to be removed.
            datasets.lock(connection, found.id)
            store.add(found.id, content, asdict(found))
            new = datasets.add(connection, caller.project_id, found.id)
            if new:
                projects.record_change(connection, caller, "dataset.upload", found.id)
    return found, new


def get(
    connection: Connection,
    caller: Caller,
    store: DatasetStore,
    dataset_id: str,
    *,
    keep: bool = False,
) -> Ingested:
    """What a data set holds. With `keep`, it cannot be deleted before the transaction ends.

    Raises:
        DatasetNotFoundError: the project has none of that id.
    """
    known = UPLOADED.fullmatch(dataset_id) is not None
    known = known and datasets.has(connection, caller.project_id, dataset_id, keep=keep)
    info = store.info(dataset_id) if known else None
    if info is None:
        raise DatasetNotFoundError(f"there is no data set {dataset_id!r}")
    return Ingested(**info)


def page(
    connection: Connection, caller: Caller, store: DatasetStore, *, limit: int, cursor: str | None
) -> tuple[Sequence[Ingested], str | None]:
    """Up to `limit` data sets by id, and the cursor of the next page (None at the end)."""
    ids = datasets.page(connection, caller.project_id, limit=limit + 1, after=cursor)
    infos = [info for each in ids[:limit] if (info := store.info(each)) is not None]
    return [Ingested(**info) for info in infos], ids[limit - 1] if len(ids) > limit else None


def remove(connection: Connection, caller: Caller, store: DatasetStore, dataset_id: str) -> None:
    """Take the data set from the project: no new job can name it.

    The caller discards its files once this is committed. Where a job still reads it, they go with
    the next round of maintenance after that; where another project has it too, they stay.

    Raises:
        DatasetNotFoundError: the project has none of that id.
    """
    get(connection, caller, store, dataset_id)
    datasets.remove(connection, caller.project_id, dataset_id)
    projects.record_change(connection, caller, "dataset.delete", dataset_id)
