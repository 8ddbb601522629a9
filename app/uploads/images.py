"""Does an image decode, and is it small enough to try?"""

import io

from PIL import Image

from app.domain.dataset_errors import ImageInvalidError, ImageTooLargeError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def check_image(content: bytes, row: int, max_pixels: int) -> None:
    """Decode an image once, the first frame where it has several.

    The size is read from the header before any pixel is decoded.

    Raises:
        ImageInvalidError: not one of `FORMATS`, broken or cut off.
        ImageTooLargeError: more pixels than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = image.size
        if width * height <= max_pixels:
            image.convert("RGB")
            return
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(row, f"more than {max_pixels} pixels ({error})") from error
    except Exception as error:  # whatever a foreign file made a decoder raise
        raise ImageInvalidError(row, f"the image does not decode ({error})") from error
    raise ImageTooLargeError(row, f"{width} x {height} is more than {max_pixels} pixels")
