"""Uploads on their way in: as they are, or in the form of a browser."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from fastapi import Request

from app.api.http.endpoints import Resources
from app.domain.projects import Caller
from app.storage.datasets import DatasetStore
from app.uploads.errors import DatasetTooLargeError
from app.uploads.form import MEDIA_TYPE, OVERHEAD, UploadForm
from app.uploads.limits import UploadLimits


@dataclass(frozen=True, slots=True)
class Upload:
    """What has been received.

    Attributes:
        file: on the store's disk.
        fields: those that came beside it in a form.
    """

    file: Path
    fields: Mapping[str, str]


def store_of(resources: Resources) -> DatasetStore:
    """Where data sets are kept."""
    return DatasetStore(resources.settings.storage.dir)


def limits_of(resources: Resources, caller: Caller) -> UploadLimits:
    """What the caller may upload."""
    limits = resources.settings.datasets.limits
    return replace(limits, bytes=min(limits.bytes, caller.limits.upload_bytes))


@asynccontextmanager
async def received(
    request: Request, limits: UploadLimits, store: DatasetStore
) -> AsyncIterator[Upload]:
    """The upload in a file, for as long as the context lasts.

    Raises:
        DatasetTooLargeError: it is larger than the limits say; no more of it is read then.
        DatasetFormError: it is a form, and not one with a file.
    """
    kind = request.headers.get("content-type", "")
    is_form = kind.partition(";")[0].strip().lower() == MEDIA_TYPE
    with store.incoming() as directory:
        path = directory / "upload"
        with path.open("wb") as file:
            form = UploadForm(kind, file) if is_form else None
            most = limits.bytes + (OVERHEAD if is_form else 0)
            await _receive(request, form or file, most)
            size = file.tell()
        if size > limits.bytes:
            raise _too_large(limits.bytes)
        if form is not None:
            form.end()
        yield Upload(path, form.fields if form else {})


async def _receive(request: Request, target: UploadForm | BinaryIO, most: int) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        await asyncio.to_thread(target.write, chunk)


def _too_large(most: int) -> DatasetTooLargeError:
    return DatasetTooLargeError(f"the upload is larger than {most} bytes")
