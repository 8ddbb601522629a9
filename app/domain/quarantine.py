"""What the maintenance loops set aside: an item that failed, why, and when it is tried again."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Loop(StrEnum):
    """The loops whose items can be set aside: of maintenance, and the claims of workers."""

    CLAIM = "claim"
    CLOCK = "clock"
    REAP = "reap"
    OVERDUE = "overdue"
    WARN = "warn"
    RECOVER = "recover"
    RELAY = "relay"
    DELIVER = "deliver"
    PUBLISH = "publish"
    EXPIRE = "expire"
    DELETE_JOBS = "delete-jobs"
    DELETE_SWEEPS = "delete-sweeps"
    FILES = "files"
    CHECKPOINTS = "checkpoints"
    DATASETS = "datasets"
    TIDY = "tidy"


# The item of a loop that failed as a whole, before it came to its items.
ROUND = "the whole round"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An item that fails.

    Attributes:
        loop: which loop met it.
        item: its id, or the name of a file.
        failures: how often in a row it failed.
        reason: the last error, in one line.
        failed_at: when that was.
        next_at: when it is tried again.
    """

    loop: str
    item: str
    failures: int
    reason: str
    failed_at: datetime
    next_at: datetime
