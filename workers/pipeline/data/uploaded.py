"""Records of an uploaded set, as the service has stored them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from app.messages import words_of
from app.uploads.errors import DatasetCorruptError, DatasetNotFoundError
from app.uploads.images import as_rgb
from workers.pipeline.data.record import Record


def uploaded_records(uploads: Path, dataset_id: str) -> Iterator[Record]:
    """All records, in the order of the upload.

    Raises:
        DatasetNotFoundError: there is no such upload.
        DatasetCorruptError: what lies there is not what the id says.
    """
    directory = uploads / dataset_id.removeprefix("sha256:")
    try:
        rows = (directory / "rows.jsonl").read_bytes()
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"there is no data set {dataset_id!r}") from error
    if f"sha256:{hashlib.sha256(rows).hexdigest()}" != dataset_id:
        raise DatasetCorruptError(f"the rows of {dataset_id} have changed on disk")
    for line in rows.splitlines():
        row = json.loads(line)
        if name := row.pop("image", None):
            row["image"] = _image(directory / "images" / name)
        yield Record(**row)


def _image(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return as_rgb(image)
    except (OSError, ValueError) as error:
        raise DatasetCorruptError(
            f"image {file.name} cannot be read ({words_of(error)})"
        ) from error
