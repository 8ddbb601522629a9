"""Does an image decode, and is it small enough to try?"""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from app.messages import words_of
from app.uploads.errors import ImageInvalidError, ImageTooLargeError

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


_DEEP = ("I;16", "I;16L", "I;16B", "I")  # 16 bits of grey; Pillow would turn them all white


def as_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture the way its EXIF entry says and make it 8-bit RGB.

    Transparent parts keep the colour that lies beneath. An EXIF entry that cannot be read turns
    nothing.

    Raises:
        ValueError: the picture has no pixels.
        OSError: it is broken or cut off.
    """
    if 0 in image.size:
        raise ValueError(f"a picture of {image.width} x {image.height} has no pixels")
    image.load()
    upright = _upright(image)
    if upright.mode in _DEEP:
        grey = np.asarray(upright, dtype=np.uint32) // 257  # 65535 becomes 255
        upright = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    elif upright.mode == "La":  # premultiplied; Pillow converts it to its plain form alone
        upright = upright.convert("LA")
    return upright.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 (broken entries fail in many ways, and turn nothing)
        return image
