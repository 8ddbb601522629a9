"""Does an image decode, and is it small enough to try?"""

import io

from PIL import Image, UnidentifiedImageError

from app.domain.dataset_errors import ImageInvalidError, ImageTooLargeError
from app.domain.foreign_words import words_of
from app.uploads.picture import as_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_SCAN, _MAX_SCANS = b"\xff\xda", 200  # of a JPEG; each goes over all of its pixels
_RUN_LENGTHS = {1, 2}  # kinds of compression of a BMP; Pillow unpacks them byte by byte in Python


def check_image(content: bytes, row: int, max_pixels: int) -> int:
    """Decode an image once, the first frame where it has several; returns how many pixels.

    The size is read from the header before any pixel is decoded.

    Raises:
        ImageInvalidError: not one of `FORMATS`, broken or cut off.
        ImageTooLargeError: more pixels than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = image.size
        costly = _costly(image, content)
        if width * height <= max_pixels and not costly:
            as_rgb(image)
            return width * height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(row, f"more than {max_pixels} pixels") from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ImageInvalidError(row, f"the image is none of {kinds}, or is broken") from error
    except Exception as error:  # whatever a foreign file made a decoder raise
        raise ImageInvalidError(row, f"the image does not decode: {words_of(error)}") from error
    if width * height <= max_pixels:
        raise ImageInvalidError(row, costly)
    raise ImageTooLargeError(row, f"{width} x {height} is more than {max_pixels} pixels")


def _costly(image: Image.Image, content: bytes) -> str:
    """Why decoding would take much longer than its pixels account for; empty where it would not."""
    match image.format:
        case "JPEG" | "MPO":
            scans = content.count(_SCAN)
            return f"a JPEG of {scans} scans; {_MAX_SCANS} are accepted" * (scans > _MAX_SCANS)
        case "BMP" if image.info.get("compression") in _RUN_LENGTHS:
            return "a BMP packed by run lengths is not accepted; save it as PNG"
        case _:
            return ""
