"""What a client does with data sets: upload, look."""

from dataclasses import asdict
from pathlib import Path

from app.domain.dataset_errors import DatasetNotFoundError
from app.domain.datasets import UPLOADED, Uploaded, parse_dataset
from app.domain.submission import JobRequest
from app.storage.datasets import DatasetStore
from app.uploads.ingest import Ingested, ingest
from app.uploads.limits import UploadLimits


def upload(store: DatasetStore, file: Path, limits: UploadLimits) -> tuple[Ingested, bool]:
    """Check a file and store it; also tells whether it is new.

    Raises:
        DatasetError: what is wrong with it. Nothing is stored then.
    """
    with store.incoming() as directory:
        content = directory / "content"
        content.mkdir()
        found = ingest(file, content, limits)
        return found, store.add(found.id, content, asdict(found))


def get(store: DatasetStore, dataset_id: str) -> Ingested:
    """What a data set holds.

    Raises:
        DatasetNotFoundError: none has that id.
    """
    info = store.info(dataset_id) if UPLOADED.fullmatch(dataset_id) else None
    if info is None:
        raise DatasetNotFoundError(f"there is no data set {dataset_id!r}")
    return Ingested(**info)


def check_named(store: DatasetStore, request: JobRequest) -> None:
    """Refuse a job whose uploaded sets are not there.

    Raises:
        DatasetNotFoundError: one is not.
    """
    names = [request.calibration.set, request.evaluation.set if request.evaluation else None]
    for name in filter(None, names):
        if isinstance(parse_dataset(name), Uploaded):
            get(store, name)
