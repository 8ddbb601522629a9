"""Whose fault an exception is, whether it may pass, and whether the process survives it whole."""

import errno

import psycopg
import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.jobs import FailureKind, Lease
from app.errors import (
    HubUnavailableError,
    ModelLoadError,
    OutOfMemoryError,
    SigningError,
    StorageUnavailableError,
    UserError,
)
from app.recipes.evaluation import QualityGateError
from app.recipes.structure import NothingTakenError
from app.uploads.errors import DatasetRowError
from workers.pipeline.context import DrainingError, StoppedError
from workers.runtime.outcomes import End, outcome_of


def every(error):
    return [error, *(each for sub in error.__subclasses__() for each in every(sub))]


def database(kind, cause, *, cut=False):
    return kind("COMMIT", {}, cause, connection_invalidated=cut)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", every(UserError))
def test_every_fault_of_a_user_fails_the_job_and_leaves_the_process_warm(kind):
    row = (1,) if issubclass(kind, DatasetRowError) else ()
    of = ("tower", "heads") if issubclass(kind, NothingTakenError) else ()
    outcome = outcome_of(kind(*row, "no such module", *of))
    assert (outcome.end, outcome.damaged, outcome.expected) == (End.FAILED, False, True)
    assert (outcome.error.kind, outcome.error.code) == (FailureKind.USER, kind.code)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (StoppedError(Lease.CANCEL_REQUESTED), End.CANCELLED),
        (StoppedError(Lease.LOST), End.CANCELLED),
        (DrainingError(), End.HANDED_BACK),
        (QualityGateError("worse"), End.FAILED),
        (StorageUnavailableError("away"), End.RETRIED),
        (HubUnavailableError("away"), End.RETRIED),
        (ConnectionResetError(errno.ECONNRESET, "cut"), End.RETRIED),
        (OSError(errno.ENOSPC, "no space left"), End.RETRIED),
        (PoolTimeoutError("all in use"), End.RETRIED),
    ],
)
def test_what_neither_breaks_the_process_nor_the_job_for_good(error, end):
    outcome = outcome_of(error)
    assert (outcome.end, outcome.damaged) == (end, False)


@pytest.mark.parametrize(
    "error",
    [
        database(OperationalError, psycopg.errors.DeadlockDetected()),
        database(OperationalError, psycopg.errors.SerializationFailure()),
        database(OperationalError, psycopg.errors.AdminShutdown()),
        database(OperationalError, psycopg.errors.CannotConnectNow()),
        database(OperationalError, psycopg.errors.LockNotAvailable()),
        database(OperationalError, psycopg.errors.QueryCanceled()),
        database(OperationalError, psycopg.errors.DiskFull()),
        database(OperationalError, psycopg.OperationalError("connection refused")),
        database(InternalError, psycopg.errors.ReadOnlySqlTransaction()),
        database(InternalError, psycopg.errors.IdleInTransactionSessionTimeout()),
        database(DBAPIError, psycopg.errors.ProtocolViolation(), cut=True),
    ],
    ids=lambda error: type(error.orig).__name__,
)
def test_a_database_error_that_may_pass_is_never_the_end_of_a_job(error):
    outcome = outcome_of(error)
    assert (outcome.end, outcome.damaged) == (End.RETRIED, False)
    assert (outcome.error.kind, outcome.error.code) == (
        FailureKind.SYSTEM,
        "database_unavailable",
    )


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("one record is too much"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("HIP error: an illegal memory access was encountered"),
        KeyError("a state nobody foresaw"),
        database(ProgrammingError, psycopg.errors.UndefinedColumn()),
        caused(ModelLoadError("it does not load"), torch.AcceleratorError("assert")),
        caused(StorageUnavailableError("away"), MemoryError()),
        caused(StoppedError(), torch.OutOfMemoryError("CUDA out of memory")),
    ],
    ids=lambda error: f"{type(error).__name__}-{type(error.__cause__).__name__}",
)
def test_real_damage_replaces_the_process(error):
    assert outcome_of(error).damaged


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        caused(ModelLoadError("it does not load"), torch.AcceleratorError("launch failure")),
    ],
    ids=str,
)
def test_a_fault_of_the_card_is_tried_again(error):
    outcome = outcome_of(error)
    assert (outcome.end, outcome.error.code) == (End.RETRIED, "device_failed")
    assert (outcome.damaged, outcome.expected) == (True, False)


def test_an_assertion_on_the_card_fails_again_and_is_not_tried():
    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    assert (outcome_of(error).end, outcome_of(error).damaged) == (End.FAILED, True)


def test_an_unexpected_error_tells_the_client_nothing_of_its_text():
    outcome = outcome_of(ValueError("/home/someone/secret"))
    assert outcome.error.code == "internal"
    assert "secret" not in outcome.error.message
    assert not outcome.expected


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "no space left", "/srv/secret/place"), "no space left"),
        (OSError("the pipe is broken"), "the pipe is broken"),
    ],
)
def test_what_is_told_of_the_system_has_no_paths(error, message):
    outcome = outcome_of(error)
    assert outcome.error.message == message
    assert (outcome.error.kind, outcome.error.code) == (FailureKind.SYSTEM, "storage_failed")


def test_a_number_that_no_system_has_is_no_refusal_of_it():
    assert outcome_of(RuntimeError(f"(os error {10**20})")).error.code == "internal"


def unmappable(place):
    torch.UntypedStorage.from_file(str(place / "weights"), shared=False, nbytes=8)


def unwritable(place):
    save_file({"weight": torch.ones(2)}, place / "weights")


@pytest.mark.parametrize(
    ("write", "message"),
    [(unmappable, "No such file or directory"), (unwritable, "No such file or directory")],
)
def test_what_libraries_say_of_files_in_their_own_words_is_the_systems(write, message, tmp_path):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each library has a type of its own
        write(tmp_path / "gone")
    assert not isinstance(raised.value, OSError)
    outcome = outcome_of(raised.value)
    assert (outcome.end, outcome.error.code) == (End.RETRIED, "storage_failed")
    assert outcome.error.message == message
    assert not outcome.expected


def test_a_database_that_is_away_is_told_in_one_sentence():
    outcome = outcome_of(PoolTimeoutError("all in use"))
    assert outcome.error.code == "database_unavailable"
    assert outcome.error.message == "the database was away for too long"
    assert (outcome.expected, outcome.damaged) == (True, False)


def test_what_nobody_foresaw_is_internal_and_damages_the_process():
    outcome = outcome_of(LookupError("secret"))
    assert (outcome.end, outcome.error.code) == (End.FAILED, "internal")
    assert "secret" not in outcome.error.message
    assert (outcome.damaged, outcome.expected) == (True, False)
    memory = outcome_of(OutOfMemoryError("too large"))
    assert (memory.end, memory.damaged, memory.expected) == (End.FAILED, True, True)


def test_a_result_that_cannot_be_signed_ends_its_job_and_damages_nothing():
    outcome = outcome_of(SigningError("a link"))
    assert (outcome.end, outcome.damaged, outcome.expected) == (End.FAILED, False, True)
    assert (outcome.error.kind, outcome.error.code) == (FailureKind.SYSTEM, "signing_failed")


@pytest.mark.parametrize(
    ("cause", "damaged"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("CUDA error: an illegal access"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("CUDA"), False),
    ],
)
@pytest.mark.parametrize("attribute", ["__cause__", "__context__"])
def test_damage_is_looked_for_along_the_whole_chain(cause, damaged, attribute):
    error, middle = ModelLoadError("broken"), ValueError("between")
    setattr(error, attribute, middle)
    setattr(middle, attribute, cause)
    setattr(cause, attribute, error)  # a circle ends as well
    assert outcome_of(error).damaged is damaged
