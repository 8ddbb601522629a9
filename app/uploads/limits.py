"""How much of everything an upload may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one data set.

    Attributes:
        bytes: of the upload as it travels.
        unpacked_bytes: of rows and images together.
        rows: number of rows.
        image_pixels: width times height of one image.
    """

    bytes: int
    unpacked_bytes: int
    rows: int
    image_pixels: int
