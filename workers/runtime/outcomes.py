"""What an exception means for the job it ended, and for the process it ended in."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import torch

from app.db.transactions import passing
from app.domain.jobs import FailureKind, JobError
from app.errors import OutOfMemoryError, SigningError, SystemFaultError, UserError
from workers.pipeline.context import DrainingError, StoppedError

_DEVICE = "the GPU failed; the worker's log has the details"
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


_DEVICES = ("CUDA error", "CUBLAS_STATUS", "CUSOLVER_STATUS", "CUDNN_STATUS", "HIP error")


def outcome_of(error: Exception) -> AttemptOutcome:
    """What becomes of an attempt that ended with this exception."""
    damaged = any(map(_is_damage, _chain(error)))
    if isinstance(error, StoppedError):
        draining = isinstance(error, DrainingError)
        return AttemptOutcome(End.HANDED_BACK if draining else End.CANCELLED, damaged=damaged)
    if any(map(_may_do_better, _chain(error))):
        told = JobError(FailureKind.SYSTEM, "device_failed", _DEVICE)
        return AttemptOutcome(End.RETRIED, told, damaged=True, expected=False)
    if isinstance(error, UserError):
        return AttemptOutcome(End.FAILED, _told(FailureKind.USER, error), damaged)
    if isinstance(error, OutOfMemoryError | SigningError):  # it would be the same again
        damaged = damaged or isinstance(error, OutOfMemoryError)
        return AttemptOutcome(End.FAILED, _told(FailureKind.SYSTEM, error), damaged)
    if isinstance(error, SystemFaultError):
        return AttemptOutcome(End.RETRIED, _told(FailureKind.SYSTEM, error), damaged)
    return _of_foreign(error, damaged=damaged)


def _of_foreign(error: Exception, *, damaged: bool) -> AttemptOutcome:
    if passing(error):
        words = "the database was away for too long"
        told = JobError(FailureKind.SYSTEM, "database_unavailable", words)
        return AttemptOutcome(End.RETRIED, told, damaged)
    if (refusal := _refusal(error)) is not None:
        told = JobError(FailureKind.SYSTEM, "storage_failed", refusal)
        return AttemptOutcome(End.RETRIED, told, damaged, expected=False)
    told = JobError(FailureKind.SYSTEM, "internal", _INTERNAL)
    return AttemptOutcome(End.FAILED, told, damaged=True, expected=False)


# What torch says of a file that it cannot map, and Rust's libraries (safetensors) of any file.
_REFUSED = re.compile(
    r"^unable to .*\((?P<torch>\d{1,4})\)$|\(os error (?P<rust>\d{1,4})\)", re.DOTALL
)


def _refusal(error: Exception) -> str | None:
    """What the system said of a file, without the paths of this machine, which the log has."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    found = _REFUSED.search(str(error))
    return os.strerror(int(found["torch"] or found["rust"])) if found else None


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
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _is_device_fault(error)


def _is_device_fault(error: BaseException) -> bool:
    """Whether a device says that it failed: a launch, an uncorrectable error of its memory."""
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _DEVICES)


def _may_do_better(error: BaseException) -> bool:
    """Whether another attempt, or another card, may do better: an assertion fails again."""
    return _is_device_fault(error) and "assert" not in str(error)
