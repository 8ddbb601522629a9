"""Pictures of any mode as people see them: what checks uploads is what reads them later."""

import warnings

import numpy as np
from PIL import Image, ImageOps

# What Pillow has to say of a foreign file is that file's own business: one can bring as many
# different warnings as it has bytes, which would all be logged and remembered.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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
