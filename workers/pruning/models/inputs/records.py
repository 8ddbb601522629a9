"""What a calibration set consists of."""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One sample: a text, an image, or an image with its text.

    `number` is that of its row in the set, from 1; messages name the record by it.
    """

    text: str | None = None
    image: Image.Image | None = None
    number: int | None = None
