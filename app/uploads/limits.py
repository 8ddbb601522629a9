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
        pixels: of all images together, each path counted once.
    """

    bytes: int
    unpacked_bytes: int
    rows: int
    image_pixels: int
    pixels: int = 1 << 31

    @property
    def image_bytes(self) -> int:
        """Of the file of one image: as many as its pixels take uncompressed, and a header."""
        return 4 * self.image_pixels + (1 << 20)
