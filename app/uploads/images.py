"""Does an image decode, and is it small enough to try?"""

import io

from PIL import Image, UnidentifiedImageError

from app.messages import words_of
from app.uploads.errors import ImageInvalidError, ImageTooLargeError
from app.uploads.picture import as_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_SCAN, _MAX_SCANS = b"\xff\xda", 200  # of a JPEG; each goes over all of its pixels


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
        scans = content.count(_SCAN) if image.format in {"JPEG", "MPO"} else 0
        if width * height <= max_pixels and scans <= _MAX_SCANS:
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
        raise ImageInvalidError(row, f"a JPEG of {scans} scans; {_MAX_SCANS} are accepted")
    raise ImageTooLargeError(row, f"{width} x {height} is more than {max_pixels} pixels")
