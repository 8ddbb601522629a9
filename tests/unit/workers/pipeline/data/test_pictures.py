"""Pictures as other programs write them: uploaded, then read by a worker."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from app.storage.datasets import DatasetStore
from app.uploads.images import as_rgb
from app.uploads.limits import UploadLimits
from tests.stored_datasets import store_upload
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.source import load_dataset

LIMITS = UploadLimits(bytes=1 << 24, unpacked_bytes=1 << 24, rows=9, image_pixels=4_000_000)
RED, BLUE = (255, 0, 0), (0, 0, 255)
ORIENTATION = 0x0112


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(width=40, height=20):
    """Red left, blue right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def turned(by):
    exif = Image.Exif()
    exif[ORIENTATION] = by
    return saved(halves(), "JPEG", quality=95, exif=exif)


def palette():
    image = halves().quantize(2)
    return saved(image, transparency=0)


@pytest.fixture
def read(tmp_path):
    def read(content, name="a.png"):
        with zipfile.ZipFile(tmp_path / "file", "w") as made:
            made.writestr("rows.jsonl", json.dumps({"image": name, "text": "a"}))
            made.writestr(name, content)
        store = DatasetStore(tmp_path)
        found = store_upload(store, tmp_path / "file", LIMITS).id
        loaded = load_dataset(found, Purpose.EVALUATION, samples=1, seed=0, uploads=store.directory)
        return loaded.records[0].image

    return read


def near(pixel, colour):
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        saved(halves()),
        saved(halves(), "JPEG", quality=95),
        saved(halves().convert("CMYK"), "JPEG", quality=95),
        saved(halves(), "WEBP", lossless=True),
        saved(halves(), "BMP"),
        saved(halves().quantize(2), "GIF"),
        saved(halves().convert("RGBA")),
        palette(),
        saved(halves(), "JPEG", quality=95, progressive=True),
    ],
    ids=["png", "jpeg", "cmyk", "webp", "bmp", "gif", "rgba", "palette", "progressive"],
)
def test_every_format_keeps_its_colours(read, content):
    image = read(content)
    assert (image.mode, image.size) == ("RGB", (40, 20))
    assert near(image.getpixel((5, 10)), RED)
    assert near(image.getpixel((35, 10)), BLUE)


def test_photographs_are_turned_upright(read):
    assert read(turned(1)).size == (40, 20)
    upright = read(turned(6))  # the camera was held upright: turn it clockwise
    assert upright.size == (20, 40)
    assert near(upright.getpixel((10, 5)), RED)
    upside_down = read(turned(3))
    assert near(upside_down.getpixel((5, 10)), BLUE)


def test_sixteen_bits_of_grey_are_not_white(read):
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    image = read(saved(deep))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]
    assert read(saved(Image.new("1", (3, 3), 1))).getpixel((0, 0)) == (255, 255, 255)
    assert read(saved(Image.new("LA", (3, 3), (9, 0)))).getpixel((0, 0)) == (9, 9, 9)


@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (1, 2000), (2000, 2000)])
def test_tiny_and_huge_pictures(read, size):
    assert read(saved(Image.new("RGB", size))).size == size


def test_a_broken_exif_entry_turns_nothing():
    image = Image.open(io.BytesIO(saved(halves(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff")))
    assert as_rgb(image).size == (40, 20)


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "LAB", "F", "I;16B"])
def test_rare_modes_become_rgb(mode):
    assert as_rgb(Image.new(mode, (3, 2))).mode == "RGB"


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="0 x 5 has no pixels"):
        as_rgb(Image.new("RGB", (0, 5)))
