"""Pictures as every part of the service sees them."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from app.uploads.errors import ImageInvalidError, ImageTooLargeError
from app.uploads.images import as_rgb, check_image


def png(image):
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def bmp(image, compression):
    out = io.BytesIO()
    image.save(out, format="BMP")
    content = bytearray(out.getvalue())
    content[30] = compression
    return bytes(content)


@pytest.mark.parametrize("mode", ["LA", "La"])
def test_grey_with_transparency_keeps_its_grey(mode):
    image = Image.new("LA", (2, 2), (100, 255)).convert(mode)
    assert image.mode == mode
    assert set(as_rgb(image).get_flattened_data()) == {(100, 100, 100)}


@pytest.mark.parametrize("size", [(0, 3), (3, 0)])
def test_a_picture_without_pixels_is_named_so(size):
    with pytest.raises(ValueError, match=f"a picture of {size[0]} x {size[1]} has no pixels"):
        as_rgb(Image.new("RGB", size))


def test_a_picture_one_pixel_wide_or_high_is_a_picture():
    assert as_rgb(Image.new("RGB", (1, 3))).size == (1, 3)
    assert as_rgb(Image.new("L", (3, 1))).size == (3, 1)


@pytest.mark.parametrize(("deep", "grey"), [(0, 0), (256, 0), (257, 1), (32896, 128), (65535, 255)])
def test_sixteen_bits_of_grey_become_eight(deep, grey):
    image = Image.fromarray(np.full((2, 2), deep, dtype=np.uint16))
    assert set(as_rgb(image).get_flattened_data()) == {(grey, grey, grey)}


@pytest.mark.parametrize(
    ("mode", "stored"), [("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2"), ("I", "=i4")]
)
def test_sixteen_bits_become_eight_however_they_are_stored(mode, stored):
    image = Image.frombytes(mode, (1, 1), np.array(32896, stored).tobytes())
    assert image.mode == mode
    assert as_rgb(image).getpixel((0, 0)) == (128, 128, 128)


def test_what_is_brighter_than_sixteen_bits_is_white():
    assert as_rgb(Image.new("I", (1, 1), 100_000)).getpixel((0, 0)) == (255, 255, 255)


def test_an_entry_that_cannot_be_read_turns_nothing():
    out = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(out, format="PNG", exif=b"Exif\0\0broken")
    assert as_rgb(Image.open(out)).size == (3, 2)


def test_it_is_turned_as_its_entry_says():
    image = Image.new("RGB", (3, 2))
    image.getexif()[0x0112] = 6
    out = io.BytesIO()
    image.save(out, format="JPEG", exif=image.getexif())
    assert as_rgb(Image.open(out)).size == (2, 3)


def test_a_plain_bmp_is_accepted():
    assert check_image(bmp(Image.new("P", (4, 4)), 0), 1, 100) == 16


@pytest.mark.parametrize("compression", [1, 2])
def test_a_bmp_packed_by_run_lengths_is_refused(compression):
    with pytest.raises(ImageInvalidError, match="run lengths"):
        check_image(bmp(Image.new("P", (4, 4)), compression), 1, 100)


@pytest.mark.parametrize("strict", [False, True])
def test_what_pillow_itself_finds_too_large_is_said_to_be(monkeypatch, strict):
    """It warns above its own bound and refuses above twice that; a warning may be an error."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        with pytest.raises(ImageTooLargeError):
            check_image(png(Image.new("L", (3, 3) if strict else (5, 5))), 1, 100)
