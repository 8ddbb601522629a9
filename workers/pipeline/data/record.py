"""One row of a data set."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from PIL import Image

from workers.pruning.models.inputs.records import CalibrationRecord


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
