"""From the name of a set to its records."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any

from app.domain.datasets import Builtin, parse_dataset
from workers.pipeline.datasets.builtin import Part, builtin_records
from workers.pipeline.datasets.record import Record, digest_of


@dataclass(frozen=True, slots=True)
class Dataset:
    """The records a job uses of a set.

    Attributes:
        name: as the job spells it.
        records: in order; may repeat where a short set was asked for more than it has.
        digests: of the records.
    """

    name: str
    records: tuple[Record, ...]
    digests: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the records in order."""
        return digest_of(self.digests)

    @property
    def provenance(self) -> dict[str, Any]:
        """Entry of the manifest."""
        return {"set": self.name, "records": len(self.records), "sha256": self.sha256}


def load_dataset(name: str, part: Part, *, samples: int, seed: int) -> Dataset:
    """The first `samples` records of the part.

    A calibration set that is shorter starts over; an evaluation set counts every record once.
    """
    found = list(islice(_records(name, part, seed), samples))
    if part is Part.CALIBRATION:
        found = list(islice(cycle(found), samples))
    return Dataset(name, tuple(found), tuple(record.digest for record in found))


def _records(name: str, part: Part, seed: int) -> Iterator[Record]:
    source = parse_dataset(name)
    if isinstance(source, Builtin):
        return builtin_records(source, part, seed)
    return chain()
