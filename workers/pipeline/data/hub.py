"""Records of a data set on the Hugging Face Hub, read with `datasets` where it is installed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from app.errors import HubUnavailableError
from app.messages import words_of
from app.recipes.data import HubSet
from app.uploads.errors import DatasetsExtraError, DatasetSourceError
from app.uploads.images import as_rgb
from workers.pipeline.data.record import Record

MAX_PIXELS = 1 << 26  # of a picture: three bytes each are in memory at once

# Column names in use for our fields, ours first.
COLUMNS = {
    "text": ("text", "caption", "sentence", "content"),
    "image": ("image", "img"),
    "prompt": ("prompt", "question"),
    "answer": ("answer", "response"),
    "label": ("label",),
}


def hub_records(source: HubSet) -> Iterator[Record]:
    """Rows of the split, in its own order, streamed: what is not used is not downloaded.

    Raises:
        DatasetsExtraError: `datasets` is not installed.
        DatasetSourceError: no such set, configuration, revision or split, or no column we know.
        HubUnavailableError: the hub does not answer.
    """
    try:
        import datasets  # noqa: PLC0415 - an optional extra, and slow to import
    except ImportError as error:
        raise DatasetsExtraError(
            "data sets of the hub need a package that is missing here: "
            "pip install 'secateur[datasets]' on the workers"
        ) from error
    if Path(source.repo_id).exists():
        # `datasets` would take a directory of this machine for the set.
        raise DatasetSourceError(f"{source.repo_id} cannot be told from a local directory")
    try:
        rows = datasets.load_dataset(
            source.repo_id,
            source.config,
            revision=source.revision,
            split=source.split,
            streaming=True,
        )
        names = getattr(rows.features.get("label"), "names", None) if rows.features else None
        for number, row in enumerate(rows, start=1):
            yield to_record(row, names, number)
    except ConnectionError as error:
        raise HubUnavailableError(f"the hub does not answer: {words_of(error)}") from error
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise DatasetSourceError(f"{source.repo_id} {source.split}: {words_of(error)}") from error


def to_record(
    row: Mapping[str, Any], label_names: list[str] | None = None, number: int = 1
) -> Record:
    """A row of foreign columns as a record; one whose columns are all empty is a blank record.

    Args:
        row: values by column.
        label_names: what integer labels stand for.
        number: of the row, from 1, for messages.

    Raises:
        DatasetSourceError: no column is one of `COLUMNS`, or a value is of the wrong kind.
    """
    columns: dict[str, str] = {}
    for field, names in COLUMNS.items():
        known = [name for name in names if name in row]
        if known:
            columns[field] = next((name for name in known if row[name] is not None), known[0])
    if not set(columns) & {"text", "image", "prompt"}:
        taken = ", ".join(name for names in COLUMNS.values() for name in names)
        raise DatasetSourceError(f"its columns are {', '.join(row)}; known are {taken}")
    found: dict[str, Any] = {
        field: _value(field, column, row[column], label_names, number)
        for field, column in columns.items()
        if row[column] is not None
    }
    if "prompt" not in found or "answer" not in found:
        found = {key: value for key, value in found.items() if key not in {"prompt", "answer"}}
    else:
        found.pop("text", None)
    return Record(**found)


def _value(
    field: str, column: str, value: Any, label_names: list[str] | None, number: int
) -> str | Image.Image:
    where = f"row {number}: column {column!r}"
    if field == "label":
        return _label(where, value, label_names)
    if field == "image":
        if not isinstance(value, Image.Image):
            raise DatasetSourceError(f"{where} holds no picture")
        if value.width * value.height > MAX_PIXELS:
            raise DatasetSourceError(
                f"{where}: a picture of {value.width} x {value.height} has more than "
                f"{MAX_PIXELS} pixels"
            )
        try:
            return as_rgb(value)
        except (OSError, ValueError) as error:
            raise DatasetSourceError(f"{where}: {words_of(error)}") from error
    if not isinstance(value, str):
        raise DatasetSourceError(f"{where} holds no text")
    return value


def _label(where: str, value: Any, names: list[str] | None) -> str:
    if not isinstance(value, str | int):
        raise DatasetSourceError(f"{where} holds no label: a text or a whole number")
    if not names or isinstance(value, str):
        return str(value)
    if not 0 <= value < len(names):
        raise DatasetSourceError(f"{where} is {value}; its classes are 0 to {len(names) - 1}")
    return names[value]
