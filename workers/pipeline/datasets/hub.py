"""Records of a data set on the Hugging Face Hub, read with `datasets` where it is installed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from app.domain.dataset_errors import DatasetsExtraError, DatasetSourceError
from app.domain.datasets import HubSet
from app.domain.errors import HubUnavailableError
from workers.pipeline.datasets.picture import as_rgb
from workers.pipeline.datasets.record import Record

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
        for row in rows:
            yield to_record(row, names)
    except ConnectionError as error:
        raise HubUnavailableError(f"the hub does not answer: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetSourceError(f"{source.repo_id} {source.split}: {error}") from error


def to_record(row: Mapping[str, Any], label_names: list[str] | None = None) -> Record:
    """A row of foreign columns as a record.

    Args:
        row: values by column.
        label_names: what integer labels stand for.

    Raises:
        DatasetSourceError: no column is one of `COLUMNS`, or a value is of the wrong kind.
    """
    found: dict[str, Any] = {}
    for field, columns in COLUMNS.items():
        value = next((row[column] for column in columns if row.get(column) is not None), None)
        if value is not None:
            found[field] = value
    if "label" in found:
        label = found["label"]
        found["label"] = label_names[label] if label_names else str(label)
    if "prompt" not in found or "answer" not in found:
        found = {key: value for key, value in found.items() if key not in {"prompt", "answer"}}
    else:
        found.pop("text", None)
    if not set(found) & {"text", "image", "prompt"}:
        known = ", ".join(name for names in COLUMNS.values() for name in names)
        raise DatasetSourceError(f"its columns are {', '.join(row)}; known are {known}")
    for field, value in found.items():
        if not isinstance(value, Image.Image if field == "image" else str):
            raise DatasetSourceError(f"column {field} holds {type(value).__name__}")
    if "image" in found:
        found["image"] = as_rgb(found["image"])
    return Record(**found)
