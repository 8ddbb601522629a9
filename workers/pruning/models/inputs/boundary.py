"""Where other people's code meets a user's records: what it raises becomes an error of ours.

Only what comes out of that code is the user's: an error that one of our own modules raised stays
what it is, a mistake of this project.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

from app.errors import CalibrationDataError, SecateurError
from app.messages import words_of

_OURS = ("app.", "workers.")
_FOREIGN = (
    *("PIL.", "datasets.", "jinja2.", "sentencepiece.", "tiktoken.", "tokenizers."),
    *("transformers.", "torch.nn.modules."),
)


@contextmanager
def naming_record(number: int) -> Iterator[None]:
    """Name the record in whatever its encoding raises.

    Raises:
        CalibrationDataError: what went wrong with it.
    """
    try:
        yield
    except CalibrationDataError as error:
        raise CalibrationDataError(f"record {number}: {error}") from error
    except Exception as error:
        if not (is_foreign(error) or _odd_call(error)):
            raise
        raise CalibrationDataError(
            f"record {number}: the checkpoint's processor cannot take it: {told(error)}"
        ) from error


def told(error: Exception) -> str:
    """The error in a client's words."""
    return f"{words_of(error)} ({type(error).__name__})"


def is_foreign(error: Exception) -> bool:
    """Whether a library raised the error, about what it was given.

    Errors of ours, of memory, of the device and of the system are none; nor is what one of our
    modules raised inside of a library that called it.
    """
    if isinstance(error, SecateurError | torch.OutOfMemoryError | MemoryError):
        return False
    if isinstance(error, torch.AcceleratorError) or out_of_memory(error):
        return False
    if f"{type(error).__module__}.".startswith(_OURS):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return any(f"{name}.".startswith(_FOREIGN) for name in _modules(error.__traceback__))


def _odd_call(error: Exception) -> bool:
    """Whether a processor wants other arguments than images and texts, which calling it tells."""
    return isinstance(error, TypeError) and "argument" in str(error)


def out_of_memory(error: Exception) -> bool:
    """Whether torch says on the CPU, where it has no exception of its own, that memory ran out."""
    words = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory", "std::bad_alloc")
    return any(each in str(error) for each in words)


def _modules(trace: TracebackType | None) -> list[str]:
    """Modules of the frames below the last one that is ours, outermost first."""
    found: list[str] = []
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        found = [] if f"{name}.".startswith(_OURS) else [*found, name]
        trace = trace.tb_next
    return found
