"""Pictures of any mode as people see them."""

import numpy as np
from PIL import Image, ImageOps

_DEEP = ("I;16", "I;16L", "I;16B", "I")  # 16 bits of grey; Pillow would turn them all white


def as_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture the way its EXIF entry says and make it 8-bit RGB.

    Transparent parts keep the colour that lies beneath.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP:
        grey = np.asarray(upright, dtype=np.uint32) // 257  # 65535 becomes 255
        upright = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return upright.convert("RGB")
