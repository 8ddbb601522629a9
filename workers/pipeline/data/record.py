"""One row of a data set, and errors that name it."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from PIL import Image

from app.errors import CalibrationDataError, ModelRunError
from workers.pruning.engine.prune import evaluating
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import CalibrationRecord, foreign_message, is_foreign


@dataclass(frozen=True, slots=True)
class Record:
    """A text, an image, or both; a question with its answer; something with a label.

    Attributes:
        text: what belongs to the image, or stands alone; None where there is a prompt.
        image: any mode and size.
        prompt: what is asked.
        answer: what should be said to the prompt.
        label: the class of the text or image.
        number: of its row in the set, from 1; messages name the record by it.
    """

    text: str | None = None
    image: Image.Image | None = None
    prompt: str | None = None
    answer: str | None = None
    label: str | None = None
    number: int | None = field(default=None, compare=False)

    @property
    def blank(self) -> bool:
        """Nothing is there, or a text, a prompt or an answer says nothing."""
        texts = [text for text in (self.text, self.prompt, self.answer) if text is not None]
        return not (texts or self.image) or any(not text.strip() for text in texts)

    @property
    def full_text(self) -> str | None:
        """The text, or the prompt followed by its answer."""
        if self.prompt is None:
            return self.text
        return f"{self.prompt} {self.answer}".strip()

    @property
    def calibration(self) -> CalibrationRecord:
        """The record as methods see it."""
        return CalibrationRecord(self.full_text, self.image, self.number)

    @property
    def question(self) -> CalibrationRecord:
        """The record without what should be said: the prompt, or the text where there is none."""
        asked = self.text if self.prompt is None else self.prompt
        return CalibrationRecord(asked, self.image, self.number)

    @property
    def digest(self) -> str:
        """SHA-256 of what a model is shown: text and RGB pixels, not their file format."""
        found = hashlib.sha256(repr(self.full_text).encode("utf-8", "backslashreplace"))
        if self.image is not None:
            found.update(repr(self.image.size).encode())
            found.update(self.image.convert("RGB").tobytes())
        return found.hexdigest()


def digest_of(digests: Iterable[str]) -> str:
    """SHA-256 of a whole set, from the digests of its records in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


_SECONDS = 60.0  # for the search for the record that fails


@contextmanager
def record_errors(
    adapter: Adapter,
    records: Sequence[CalibrationRecord],
    max_length: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Turn errors of the model's own code into one that names the record that causes them.

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
            f"{where} fails in its own code: {foreign_message(error)}; try the model with "
            "transformers alone, and compare its config.json with its weights"
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
