"""What a calibration set consists of."""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One sample: a text, an image, or an image with its text."""

    text: str | None = None
    image: Image.Image | None = None
