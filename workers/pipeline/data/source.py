"""From the name of a set to its records."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from app.recipes.data import Builtin, HubSet, parse_dataset
from app.uploads.errors import DatasetNotFoundError, DatasetSourceError
from workers.pipeline.data.builtin import Purpose, builtin_records
from workers.pipeline.data.hub import hub_records
from workers.pipeline.data.record import Record, digest_of
from workers.pipeline.data.uploaded import uploaded_records

MOST_BLANK = 100_000  # rows that say nothing before one that does
_BLANK = "its rows are blank; name another split, or put the texts into a column we know"


@dataclass(frozen=True, slots=True)
class Dataset:
    """The records a job uses of a set.

    Attributes:
        name: as the job spells it.
        records: in order; may repeat where a short set was asked for more than it has.
        digests: of the records.
        blank: rows on the way that say nothing; they were skipped.
    """

    name: str
    records: tuple[Record, ...]
    digests: tuple[str, ...]
    blank: int = 0

    @property
    def sha256(self) -> str:
        """Digest of the records in order."""
        return digest_of(self.digests)

    @property
    def provenance(self) -> dict[str, Any]:
        """Entry of the manifest."""
        found = {"set": self.name, "records": len(self.records), "sha256": self.sha256}
        return found | ({"blank_rows": self.blank} if self.blank else {})


def load_dataset(
    name: str, part: Purpose, *, samples: int, seed: int, uploads: Path | None = None
) -> Dataset:
    """The first `samples` records of the part.

    A calibration set that is shorter starts over; an evaluation set counts every record once.
    Blank rows are skipped and counted.

    Args:
        name: as a job spells it.
        part: which part of a built-in set; others are what they were named for.
        samples: how many records.
        seed: of built-in sets; others are read in their own order.
        uploads: directory of the uploaded sets.

    Raises:
        DatasetNotFoundError: there is no such upload.
        DatasetSourceError: there is no such set on the hub, its columns are not ours, or it has
            no rows.
        DatasetsExtraError: sets of the hub need a package that is not installed.
    """
    found: list[Record] = []
    blank = 0
    for number, row in enumerate(_records(name, part, seed, uploads), start=1):
        if row.blank:
            blank += 1
        else:
            found.append(replace(row, number=number))
        if len(found) == samples or blank > MOST_BLANK:
            break
    if not found:
        raise DatasetSourceError(f"{name} has no rows" if not blank else f"{name}: {_BLANK}")
    if part is Purpose.CALIBRATION:
        found = list(islice(cycle(found), samples))
    return Dataset(name, tuple(found), tuple(record.digest for record in found), blank)


def _records(name: str, part: Purpose, seed: int, uploads: Path | None) -> Iterator[Record]:
    source = parse_dataset(name)
    if isinstance(source, Builtin):
        return builtin_records(source, part, seed)
    if isinstance(source, HubSet):
        return hub_records(source)
    if uploads is None:
        raise DatasetNotFoundError(f"no directory of uploads to look for {name} in")
    return uploaded_records(uploads, source.id)
