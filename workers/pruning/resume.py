"""What a run keeps so that another one can continue where it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing kept.

    Attributes:
        values: what JSON can say.
        tensors: on the CPU; they may be views of a file and are not to be written to.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Checkpoints(Protocol):
    """Named entries that outlive a run, which comes to the same end with any of them missing."""

    def get(self, name: str) -> Entry | None:
        """What was put under the name, bit for bit; None where there is nothing."""

    def put(self, name: str, entry: Entry) -> None:
        """Keep the entry, in place of an earlier one of that name, if there is room for it."""

    def drop(self, name: str) -> None:
        """Forget the entry, if there is one."""


@dataclass(frozen=True, slots=True)
class PartOf:
    """The entries of one part of a run, whose names are its own.

    Attributes:
        whole: of the run.
        part: what their names begin with there.
    """

    whole: Checkpoints
    part: str

    def get(self, name: str) -> Entry | None:
        """What was put under the name."""
        return self.whole.get(f"{self.part}/{name}")

    def put(self, name: str, entry: Entry) -> None:
        """Keep the entry."""
        self.whole.put(f"{self.part}/{name}", entry)

    def drop(self, name: str) -> None:
        """Forget the entry."""
        self.whole.drop(f"{self.part}/{name}")


class NoCheckpoints:
    """Keeps nothing."""

    def get(self, name: str) -> None:
        """There is nothing."""

    def put(self, name: str, entry: Entry) -> None:
        """Does nothing."""

    def drop(self, name: str) -> None:
        """Does nothing."""
