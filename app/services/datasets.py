"""What a client does with the data sets of its project: upload, look, list, forget."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection

from app.db import audit, datasets
from app.domain.access import Caller
from app.domain.dataset_errors import DatasetNotFoundError
from app.domain.datasets import UPLOADED, Uploaded, parse_dataset
from app.domain.submission import JobRequest
from app.storage.datasets import DatasetStore
from app.uploads.ingest import Ingested, ingest
from app.uploads.limits import UploadLimits


def store_upload(store: DatasetStore, file: Path, limits: UploadLimits) -> Ingested:
    """Check a file and store it.

    Raises:
        DatasetError: what is wrong with it. Nothing is stored then.
    """
    with store.incoming() as directory:
        content = directory / "content"
        content.mkdir()
        found = ingest(file, content, limits)
        store.add(found.id, content, asdict(found))
        return found


def register(connection: Connection, caller: Caller, dataset_id: str) -> bool:
    """Give a stored data set to the caller's project; False where it has it already."""
    new = datasets.add(connection, caller.project_id, dataset_id)
    if new:
        audit.record(connection, caller, "dataset.upload", dataset_id)
    return new


def get(connection: Connection, caller: Caller, store: DatasetStore, dataset_id: str) -> Ingested:
    """What a data set holds.

    Raises:
        DatasetNotFoundError: the project has none of that id.
    """
    known = UPLOADED.fullmatch(dataset_id) is not None
    known = known and datasets.has(connection, caller.project_id, dataset_id)
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

    Raises:
        DatasetNotFoundError: the project has none of that id.
    """
    get(connection, caller, store, dataset_id)
    datasets.remove(connection, caller.project_id, dataset_id)
    audit.record(connection, caller, "dataset.delete", dataset_id)


def check_named(
    connection: Connection, caller: Caller, store: DatasetStore, request: JobRequest
) -> None:
    """Refuse a job whose uploaded sets the project does not have.

    Raises:
        DatasetNotFoundError: one is not there.
    """
    names = [request.calibration.set, request.evaluation.set if request.evaluation else None]
    for name in filter(None, names):
        if isinstance(parse_dataset(name), Uploaded):
            get(connection, caller, store, name)
