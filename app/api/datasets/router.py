"""`/v1/datasets`: upload records to calibrate or to evaluate on."""

from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response

from app.api.datasets.receiving import limits_of, received, store_of
from app.api.datasets.schemas import DatasetOut, DatasetPage
from app.api.http.documented import LOCATION
from app.api.http.endpoints import (
    Reader,
    Submitter,
    Transaction,
    TransactionRoute,
    Uploader,
    WithResources,
)
from app.services import datasets
from app.services.jobs.garbage_collection import discard_dataset
from app.storage.datasets import DatasetStore
from app.uploads.form import MEDIA_TYPE
from app.uploads.limits import UploadLimits

PATH = "/v1/datasets"

router = APIRouter(prefix=PATH, tags=["datasets"], route_class=TransactionRoute)


def _store(resources: WithResources) -> DatasetStore:
    return store_of(resources)


def _limits(resources: WithResources, caller: Uploader) -> UploadLimits:
    return limits_of(resources, caller)


Store = Annotated[DatasetStore, Depends(_store)]
Limits = Annotated[UploadLimits, Depends(_limits)]


async def _received(request: Request, limits: Limits, store: Store) -> AsyncIterator[Path]:
    async with received(request, limits, store) as upload:
        yield upload.file


_FORM = {
    "schema": {
        "type": "object",
        "title": "DatasetUpload",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    }
}
_BODY = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        HTTPStatus.OK.value: {
            "model": DatasetOut,
            "description": "It was there already",
            "headers": {"Location": LOCATION},
        },
        HTTPStatus.CREATED.value: {"headers": {"Location": LOCATION}},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/jsonl": _BODY,
                "application/zip": _BODY,
                MEDIA_TYPE: _FORM,
            },
        }
    },
)
async def upload_dataset(
    caller: Uploader,
    resources: WithResources,
    file: Annotated[Path, Depends(_received)],
    store: Store,
    limits: Limits,
    response: Response,
) -> DatasetOut:
    """Upload JSON lines, or a zip archive of one JSONL file and the images that it names.

    Either is the body itself, or the `file` of a form. A row has `text`, or `prompt` and `answer`;
    `image`, a path in the archive; `label`. All rows have the same fields. Everything is checked
    before anything is stored.
    """
    work = partial(datasets.upload, resources.engine, caller, store, file, limits)
    found, new = await resources.uploads.run(caller.project_id, work)
    response.headers["Location"] = f"{PATH}/{found.id}"
    if not new:
        response.status_code = HTTPStatus.OK
    return DatasetOut.of(found)


@router.get("")
def list_datasets(
    caller: Reader,
    transaction: Transaction,
    store: Store,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
) -> DatasetPage:
    """List the project's uploaded data sets, by id."""
    found, following = datasets.page(transaction, caller, store, limit=limit, cursor=cursor)
    return DatasetPage(datasets=[DatasetOut.of(each) for each in found], next_cursor=following)


@router.get("/{dataset_id}")
def get_dataset(
    dataset_id: str, caller: Reader, transaction: Transaction, store: Store
) -> DatasetOut:
    """Look at an uploaded data set."""
    return DatasetOut.of(datasets.get(transaction, caller, store, dataset_id))


@router.delete("/{dataset_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_dataset(
    dataset_id: str,
    resources: WithResources,
    caller: Submitter,
    transaction: Transaction,
    store: Store,
    after: BackgroundTasks,
) -> None:
    """Delete a data set; jobs that name it already still run, and its files go after them."""
    datasets.remove(transaction, caller, store, dataset_id)
    # Runs after the commit; where it does not come to that, maintenance finds the files.
    after.add_task(discard_dataset, resources.engine, store, dataset_id)
