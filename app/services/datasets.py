"""What a client does with the data sets of its project: upload, look, list, forget."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection, Engine

from app.db import audit, datasets
from app.domain.access import Caller
from app.domain.dataset_errors import DatasetNotFoundError
from app.domain.datasets import UPLOADED, Builtin, Uploaded, parse_dataset
from app.domain.model_inputs import (
    FIELDS,
    check_calibration,
    check_evaluation,
    check_modalities,
    inputs_of,
)
from app.domain.submission import JobRequest, JobSpec
from app.sources.outlines import Outline
from app.storage.datasets import DatasetStore
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
                audit.record(connection, caller, "dataset.upload", found.id)
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
    audit.record(connection, caller, "dataset.delete", dataset_id)


def check_named(
    connection: Connection,
    caller: Caller,
    store: DatasetStore,
    request: JobRequest,
    *,
    spec: JobSpec,
    outline: Outline | None,
) -> None:
    """Refuse a job whose sets the project does not have, or the model cannot take.

    Args:
        connection: a transaction.
        caller: whose project it is.
        store: of the uploads.
        request: what is asked, with sets that its method may not read.
        spec: what would be done.
        outline: of the model; None where it could not be had.

    Raises:
        DatasetNotFoundError: one is not there.
        CalibrationDataError: the model cannot take the calibration set.
        EvaluationDataError: the model cannot take the evaluation set.
        RecipeError: a sparsity is given for a part that the model does not have.
    """
    evaluation = request.evaluation.set if request.evaluation else None
    named = {request.calibration.set, evaluation, *_sets(spec)}
    fields = {name: _fields(connection, caller, store, name) for name in named if name}
    takes = None if outline is None else inputs_of(outline.config)
    if takes is None:
        return
    if isinstance(request.sparsity, dict):
        check_modalities(takes, spec.model, request.sparsity)
    calibrated, evaluated = _sets(spec)
    if calibrated and (known := fields[calibrated]) is not None:
        check_calibration(takes, spec.model, calibrated, known)
    if evaluated and (known := fields[evaluated]) is not None:
        check_evaluation(takes, spec.model, evaluated, known)


def _sets(spec: JobSpec) -> tuple[str | None, str | None]:
    """Names of the sets for calibration and for evaluation."""
    return (
        spec.calibration.set if spec.calibration else None,
        spec.evaluation.set if spec.evaluation else None,
    )


def _fields(
    connection: Connection, caller: Caller, store: DatasetStore, name: str
) -> Collection[str] | None:
    """Fields of a set's records; None where only its rows tell."""
    source = parse_dataset(name)
    if isinstance(source, Builtin):
        return FIELDS[source]
    if isinstance(source, Uploaded):
        return get(connection, caller, store, name, keep=True).fields
    return None
