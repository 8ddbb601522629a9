"""What an exception means for the job it ended, and for the process it ended in."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import torch

from app.db.transactions import passing
from app.domain.jobs import FailureKind, JobError
from app.errors import OutOfMemoryError, SystemFaultError, UserError
from workers.pipeline.context import DrainingError, StoppedError

_INTERNAL = "the worker met an unexpected error; its log has the details"


class End(Enum):
    """How an attempt ends."""

    HANDED_BACK = auto()
    CANCELLED = auto()
    FAILED = auto()
    RETRIED = auto()


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The end of an attempt.

    Attributes:
        end: what becomes of the job.
        error: what is told of it.
        damaged: whether the process may have been left with less than it had: memory, a device,
            or a state that nobody foresaw.
        expected: whether the error says all there is to know; of others the log has a traceback.
    """

    end: End
    error: JobError | None = None
    damaged: bool = False
    expected: bool = True


def outcome_of(error: Exception) -> AttemptOutcome:
    """What becomes of an attempt that ended with this exception."""
    damaged = any(map(_is_damage, _chain(error)))
    if isinstance(error, StoppedError):
        draining = isinstance(error, DrainingError)
        return AttemptOutcome(End.HANDED_BACK if draining else End.CANCELLED, damaged=damaged)
    if isinstance(error, UserError):
        return AttemptOutcome(End.FAILED, _told(FailureKind.USER, error), damaged)
    if isinstance(error, OutOfMemoryError):  # it would run out again
        return AttemptOutcome(End.FAILED, _told(FailureKind.SYSTEM, error), damaged=True)
    if isinstance(error, SystemFaultError):
        return AttemptOutcome(End.RETRIED, _told(FailureKind.SYSTEM, error), damaged)
    return _of_foreign(error, damaged=damaged)


def _of_foreign(error: Exception, *, damaged: bool) -> AttemptOutcome:
    if passing(error):
        words = "the database was away for too long"
        told = JobError(FailureKind.SYSTEM, "database_unavailable", words)
        return AttemptOutcome(End.RETRIED, told, damaged)
    if isinstance(error, OSError):
        # Without the paths of this machine, which the log has.
        told = JobError(FailureKind.SYSTEM, "storage_failed", error.strerror or str(error))
        return AttemptOutcome(End.RETRIED, told, damaged, expected=False)
    told = JobError(FailureKind.SYSTEM, "internal", _INTERNAL)
    return AttemptOutcome(End.FAILED, told, damaged=True, expected=False)


def _told(kind: FailureKind, error: UserError | SystemFaultError) -> JobError:
    return JobError(kind, error.code, str(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        yield at
        at = at.__cause__ or at.__context__


def _is_damage(error: BaseException) -> bool:
    """Whether a device or an allocator failed: its state is unknown then."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError | torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and "CUDA" in str(error)
    )
