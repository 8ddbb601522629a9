"""The model at work on a user's records: where its code fails, the message says on which."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from app.errors import CalibrationDataError, ModelRunError
from workers.pruning.engine.prune import evaluating
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.boundary import is_foreign, told
from workers.pruning.models.inputs.records import CalibrationRecord

_SECONDS = 60.0  # for the search for the record that fails


@contextmanager
def running(
    adapter: Adapter,
    records: Sequence[CalibrationRecord],
    max_length: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Turn what the model's own code raises into an error that names the record, if one does it.

    Args:
        adapter: the model.
        records: what it is run on; empty where it is not.
        max_length: tokens they are cut to.
        check: called before every record that is tried again; what it raises ends the search.

    Raises:
        ModelRunError: the model's code, or a library below it, raised something.
    """
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        number = _first_failing(adapter, records, max_length, check) if records else None
        where = "the model" if number is None else f"the model, on record {number},"
        raise ModelRunError(
            f"{where} fails in its own code: {told(error)}; try the model with transformers alone, "
            "and compare its config.json with its weights"
        ) from error


def _first_failing(
    adapter: Adapter,
    records: Sequence[CalibrationRecord],
    max_length: int,
    check: Callable[[], None],
) -> int | None:
    """The number of the first record that fails by itself; None where none does in time."""
    until = time.monotonic() + _SECONDS
    for place, record in enumerate(records, start=1):
        if time.monotonic() > until:
            return None
        check()
        try:
            with torch.no_grad(), evaluating(adapter.model):
                for batch in adapter.batches([record], batch_size=1, max_length=max_length):
                    adapter.forward(batch)
        except CalibrationDataError:
            return record.number or place
        except Exception as error:
            if not is_foreign(error):
                raise
            return record.number or place
    return None
