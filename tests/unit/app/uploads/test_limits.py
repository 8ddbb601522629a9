"""Rows and images just within their limits are taken, and just beyond are not."""

import hashlib
import io
import json
import threading
import zipfile

import pytest
from PIL import Image

from app.uploads import ingest as ingesting
from app.uploads.errors import (
    DatasetEmptyError,
    DatasetError,
    DatasetRowError,
    DatasetTooLargeError,
    ImageInvalidError,
    ImageTooLargeError,
)
from app.uploads.images import check_image
from app.uploads.ingest import ingest
from app.uploads.limits import UploadLimits
from app.uploads.rows import parse_rows

MIB = 1 << 20


def picture(width=8, height=8, kind="PNG", **options):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind, **options)
    return out.getvalue()


def scans(count):
    """A JPEG with so many scans."""
    content = picture(kind="JPEG", progressive=True)
    at, more = content.rindex(b"\xff\xda"), count - content.count(b"\xff\xda")
    return content[:at] + content[at:-2] * (1 + more) + content[-2:]


def archive(rows, files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def limits(**given):
    wide = {"bytes": MIB, "unpacked_bytes": 9 * MIB, "rows": 50, "image_pixels": 10_000}
    return UploadLimits(**wide | given)


@pytest.fixture
def upload(tmp_path):
    def upload(content, **given):
        file = tmp_path / "upload"
        file.write_bytes(content)
        directory = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        return ingest(file, directory, limits(**given))

    return upload


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "MPO"])
def test_formats_that_are_taken_and_how_many_pixels_they_have(kind):
    assert check_image(picture(12, 9, kind), 1, 108) == 108
    with pytest.raises(ImageTooLargeError, match="12 x 9 is more than 107 pixels"):
        check_image(picture(12, 9, kind), 1, 107)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA", "PDF", "EPS"])
def test_formats_that_are_not(kind):
    with pytest.raises(ImageInvalidError, match="none of PNG, JPEG, WEBP, GIF, BMP"):
        check_image(picture(kind=kind), 1, 10_000)


def test_scans_of_a_jpeg_are_bounded():
    assert check_image(scans(200), 1, 64) == 64
    with pytest.raises(ImageInvalidError, match="201 scans; 200 are accepted"):
        check_image(scans(201), 1, 64)
    mpo = picture(kind="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))] * 3)
    with pytest.raises(ImageInvalidError, match="scans"):
        check_image(mpo + b"\xff\xda" * 200, 1, 64)


def test_bytes_that_mark_scans_are_bytes_like_others_elsewhere():
    with_marks = picture(kind="PNG") + b"\xff\xda" * 300
    assert check_image(with_marks, 1, 64) == 64


def test_pillow_refuses_what_is_larger_still(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageTooLargeError, match="more than 9 pixels"):
        check_image(picture(), 1, 9)


def test_an_images_file_may_be_as_large_as_its_pixels_and_a_header():
    assert limits(image_pixels=10).image_bytes == 40 + MIB
    assert limits().pixels == 2**31


def test_bytes_of_one_image(upload):
    row, content = [{"image": "a"}], picture()
    most = 4 * 64 + MIB

    def padded(size):
        return archive(row, {"a": content + bytes(size - len(content))})

    assert upload(padded(most), image_pixels=64).images == 1
    with pytest.raises(ImageTooLargeError, match=f"more than {most} bytes"):
        upload(padded(most + 1), image_pixels=64)


def test_pixels_of_all_images(upload):
    rows = [{"image": "a"}, {"image": "b"}, {"image": "a"}][:2]
    files = {"a": picture(10, 10), "b": picture(5, 5)}
    assert upload(archive(rows, files), pixels=125).images == 2
    with pytest.raises(DatasetTooLargeError, match="more than 124 pixels together"):
        upload(archive(rows, files), pixels=124)
    twice = [{"image": "a", "text": text} for text in "xyz"]
    assert upload(archive(twice, files), pixels=100).rows == 3


def test_number_of_rows(upload):
    rows = b"".join(b'{"text": "%d"}\n' % n for n in range(51))
    assert upload(rows, rows=51).rows == 51
    with pytest.raises(DatasetTooLargeError, match="more than 50 rows"):
        upload(rows, rows=50)


def test_an_upload_without_rows_is_told_from_one_of_blank_rows(upload):
    with pytest.raises(DatasetEmptyError, match="there are no rows"):
        upload(b"")
    with pytest.raises(DatasetEmptyError, match="every row is blank"):
        upload(b"\n\n")


def test_blank_rows_count_where_rows_are_counted(upload):
    with pytest.raises(DatasetTooLargeError):
        upload(b'{"text": "a"}\n\n\n{"text": "b"}\n', rows=3)
    assert upload(b'{"text": "a"}\n\n\n{"text": "b"}\n', rows=4).blank == 2


def test_blank_rows_after_the_last_one_are_bounded_too(upload):
    assert upload(b'{"text": "a"}\n' + b"\n" * 4, rows=4).blank == 4
    with pytest.raises(DatasetTooLargeError, match="more than 4 blank rows"):
        upload(b'{"text": "a"}\n' + b"\n" * 5, rows=4)


def test_bytes_of_all_that_is_stored(upload):
    content = picture()
    found = upload(archive([{"image": "a"}], {"a": content}))
    row = len(b'{"image":"' + b"0" * 64 + b'"}\n')
    assert found.bytes == len(content) + row
    plain = b'{"text":"abc"}\n{"text":"def"}\n'
    assert upload(plain, unpacked_bytes=30).bytes == 30
    with pytest.raises(DatasetTooLargeError, match="more than 29 bytes"):
        upload(plain, unpacked_bytes=29)


def parsed(line):
    [(number, row)] = parse_rows(iter([line]))
    return number, row


def test_length_of_a_line():
    line = b'{"text": "a"}'
    number, row = parsed(line + b" " * (MIB - len(line)))
    assert (number, row.text) == (1, "a")
    with pytest.raises(DatasetRowError, match=f"longer than {MIB} bytes"):
        parsed(line + b" " * (MIB - len(line) + 1))
    assert parsed(b" " * MIB) == (1, None)
    with pytest.raises(DatasetRowError, match=f"longer than {MIB} bytes"):
        parsed(b" " * (MIB + 1))


@pytest.mark.parametrize("end", [b"\n", b""])
def test_lines_of_a_file_are_not_read_on_beyond_their_length(upload, end):
    with pytest.raises(DatasetRowError, match=f"row 1: longer than {MIB} bytes"):
        upload(b'{"text": "a"}' + b" " * (3 * MIB) + end, bytes=9 * MIB)


@pytest.mark.parametrize("field", ["text", "image", "prompt", "answer", "label"])
def test_length_of_a_field(field):
    def row(length):
        given = {"prompt": "a", "answer": "b"} if field in {"prompt", "answer"} else {"text": "a"}
        return json.dumps(given | {field: "x" * length}).encode()

    assert len(getattr(parsed(row(100_000))[1], field)) == 100_000
    with pytest.raises(DatasetRowError, match=f"{field} is longer than 100000 characters"):
        parsed(row(100_001))


def test_what_is_wrong_with_a_whole_row_names_no_field():
    with pytest.raises(DatasetRowError) as error:
        parsed(json.dumps({"prompt": "a"}).encode())
    assert str(error.value) == "row 1: prompt and answer come together"


def test_as_much_of_an_unknown_field_is_told_as_tells_it_apart():
    with pytest.raises(DatasetRowError, match=f"unknown field '{'k' * 100}';"):
        parsed(json.dumps({"text": "a", "k" * 200: 1}).encode())


def test_depth_of_a_line():
    def nested(depth):
        return b'{"text": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    with pytest.raises(DatasetRowError, match="text is not a text"):
        parsed(nested(8))
    with pytest.raises(DatasetRowError, match="nested more than 8 deep"):
        parsed(nested(9))


def test_brackets_in_a_text_are_as_good_as_other_characters():
    assert parsed(b'{"text": "' + b"," * 99_999 + b'"}')[1].text == "," * 99_999


@pytest.mark.parametrize("half", ["\\ud800", "\\udbff", "\\udc00", "\\udfff", "\\u0000"])
def test_what_is_no_text(half):
    with pytest.raises(DatasetRowError, match="are no text"):
        parsed(f'{{"text": "a{half}"}}'.encode())


@pytest.mark.parametrize("character", ["\\ud7ff", "\\ue000", "\\ud83d\\ude00", "\\u0001"])
def test_what_is_one(character):
    assert len(parsed(f'{{"text": "{character}"}}'.encode())[1].text) == 1


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b'{"text": "a"}', ("text",)),
        (b'{"image": "a"}', ("image",)),
        (b'{"prompt": "a", "answer": "b"}', ("prompt", "answer")),
        (b'{"text": "a", "image": "b", "label": "c"}', ("text", "image", "label")),
        (b'{"image": "b", "prompt": "a", "answer": "c"}', ("image", "prompt", "answer")),
    ],
)
def test_rows_that_say_something(line, fields):
    assert parsed(line)[1].fields == fields


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"answer": "a"}', "prompt and answer come together"),
        (b'{"text": "a", "prompt": "b", "answer": "c"}', "a row has a text, or a prompt"),
        (b'{"label": "a"}', "has none of text, image, prompt and answer"),
        (b'{"more": "a"}', "unknown field 'more'; a row has text, image, prompt"),
    ],
)
def test_rows_that_say_nothing_or_too_much(line, says):
    with pytest.raises(DatasetError, match=says):
        parsed(line)


def test_a_row_with_one_blank_field_is_blank():
    assert parsed(b'{"text": "a", "label": " "}') == (1, None)


def test_two_images_are_decoded_at_a_time(tmp_path, monkeypatch):
    both, others = threading.Barrier(2), []

    def check(*_):
        both.wait(10)  # two are in here
        others.append(ingesting._DECODING.acquire(blocking=False))
        both.wait(10)
        return 1

    monkeypatch.setattr(ingesting, "check_image", check)
    (tmp_path / "upload").write_bytes(archive([{"image": "a"}], {"a": picture()}))
    threads = []
    for n in range(4):
        (tmp_path / str(n)).mkdir()
        told = (tmp_path / "upload", tmp_path / str(n), limits())
        threads.append(threading.Thread(target=ingest, args=told))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert others == [False] * 4


def test_a_zip_is_known_by_either_end(upload):
    cut = archive([{"image": "a"}], {"a": picture()})[:50]
    with pytest.raises(DatasetError, match="zip") as error:
        upload(cut)
    assert error.value.code == "dataset_archive_invalid"
    behind = b"#!/bin/sh\n" + archive([{"text": "a"}], {})
    assert upload(behind).rows == 1


def test_rows_are_stored_as_they_are_digested(upload, tmp_path):
    found = upload(b'{"text": "b", "label": "c"}\n\n{"label": "d", "text": "a"}\n')
    [directory] = tmp_path.glob("out-*")
    stored = (directory / "rows.jsonl").read_bytes()
    assert stored == b'{"label":"c","text":"b"}\n{"label":"d","text":"a"}\n'
    assert found.id == f"sha256:{hashlib.sha256(stored).hexdigest()}"
    assert found.bytes == len(stored)


def test_images_are_stored_by_their_digest(upload, tmp_path):
    content = picture()
    upload(archive([{"image": "x/a.png"}], {"x/a.png": content}))
    [file] = tmp_path.glob("out-*/images/*")
    assert file.name == hashlib.sha256(content).hexdigest()
    assert file.read_bytes() == content
