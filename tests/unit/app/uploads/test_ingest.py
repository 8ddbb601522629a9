"""Uploads of every bad kind are refused, each with its code and row; good ones are stored."""

import io
import json
import stat
import zipfile
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.uploads.errors import DatasetError
from app.uploads.ingest import Ingested, ingest
from app.uploads.limits import UploadLimits

LIMITS = UploadLimits(bytes=1 << 20, unpacked_bytes=200_000, rows=50, image_pixels=10_000)


def png(side=8, colour="red", kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, kind)
    return out.getvalue()


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def archive(files, *, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def pairs(*rows, **files):
    return archive({"rows.jsonl": lines(*rows), "a.png": png(), **files})


@pytest.fixture
def upload(tmp_path):
    def take(content, limits=LIMITS):
        file = tmp_path / "upload"
        file.write_bytes(content)
        directory = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        return ingest(file, directory, limits), directory

    return take


A, B = {"text": "a b"}, {"text": "c d"}
IMAGE = {"text": "a", "image": "a.png"}
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("content", "code", "row"),
    [
        (b"", "dataset_empty", None),
        (b"{", "dataset_row_invalid", 1),
        (lines(A) + b"\xff\xfe", "dataset_row_invalid", 2),
        (DEEP, "dataset_row_invalid", 1),
        (lines(A, ["a"]), "dataset_row_invalid", 2),
        (lines(A, {"txt": "a"}), "dataset_row_invalid", 2),
        (lines(A, {"text": 3}), "dataset_row_invalid", 2),
        (lines({"prompt": "a"}), "dataset_row_invalid", 1),
        (lines({"text": "a", "prompt": "a", "answer": "b"}), "dataset_row_invalid", 1),
        (lines({"text": "a\0b"}), "dataset_row_invalid", 1),
        (b'{"text": "\\ud800"}', "dataset_row_invalid", 1),
        (lines(A, B) + b'{"text": "' + b"x" * (1 << 20) + b'"}', "dataset_row_invalid", 3),
        (b"\n \n", "dataset_empty", None),
        (lines({"text": " \n"}), "dataset_empty", None),
        (lines({"label": "a"}), "dataset_row_empty", 1),
        (lines(A, B, A), "dataset_row_duplicate", 3),
        (lines(A, {"text": "b", "label": "c"}), "dataset_rows_mixed", 2),
        (lines(*({"text": str(n)} for n in range(51))), "dataset_too_large", None),
        (lines({"text": "x" * 99_999}, {"text": "y" * 99_999}, A), "dataset_too_large", None),
        (lines(IMAGE), "dataset_row_invalid", 1),
        (pairs(IMAGE | {"image": "b.png"}), "dataset_image_missing", 1),
        (pairs(IMAGE, **{"a.png": b"no image"}), "dataset_image_invalid", 1),
        (pairs(IMAGE, **{"a.png": png()[:-30]}), "dataset_image_invalid", 1),
        (pairs(IMAGE, **{"a.png": png(kind="TIFF")}), "dataset_image_invalid", 1),
        (pairs(IMAGE, **{"a.png": png(101)}), "dataset_image_too_large", 1),
        (archive({"a.png": png()}), "dataset_archive_invalid", None),
        (pairs(IMAGE, **{"more.jsonl": b""}), "dataset_archive_invalid", None),
        (pairs(IMAGE)[:-10], "dataset_archive_invalid", None),
        (pairs(IMAGE).replace(b"a.png", b"/.png"), "dataset_path_invalid", None),
        (pairs(IMAGE, **{"../b.png": b""}), "dataset_path_invalid", None),
        (pairs(IMAGE, **{"x\\b.png": b""}), "dataset_path_invalid", None),
        (pairs(IMAGE, **{"C:b.png": b""}), "dataset_path_invalid", None),
        (pairs(IMAGE, bomb=b"\0" * 300_000), "dataset_too_large", None),
    ],
)
def test_bad_uploads(upload, content, code, row):
    with pytest.raises(DatasetError) as error:
        upload(content)
    assert (error.value.code, getattr(error.value, "row", None)) == (code, row), error.value


@pytest.mark.parametrize("content", [b'[\n {"text": "a"}\n]', b"text,label\na,1\n", b"[1]\n"])
def test_a_file_of_another_format_is_told_what_lines_are(upload, content):
    with pytest.raises(DatasetError, match="each line is a JSON object of its own"):
        upload(content)


def test_links_and_twins_are_refused(upload):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO(pairs(IMAGE))
    with zipfile.ZipFile(out, "a") as made:
        made.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError) as error:
        upload(out.getvalue())
    assert error.value.code == "dataset_path_invalid"
    twins = archive({"rows.jsonl": lines(IMAGE), "a.png": png(), "b.png": png(colour="blue")})
    with pytest.raises(DatasetError, match="twice") as error:
        upload(twins.replace(b"b.png", b"a.png"))
    assert error.value.code == "dataset_archive_invalid"


def test_sizes_that_an_archive_lies_about_do_not_help_it(upload):
    honest = pairs(IMAGE, **{"a.png": png() + b"\0" * 150_000})
    lying = honest.replace((150_000 + len(png())).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    assert lying != honest
    with pytest.raises(DatasetError):
        upload(lying)


def test_broken_and_encrypted_archives(upload):
    broken = bytearray(pairs(IMAGE))
    broken[60] ^= 0xFF
    encrypted = bytearray(pairs(IMAGE))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.index(mark) + offset] |= 1
    for content in (broken, encrypted):
        with pytest.raises(DatasetError) as error:
            upload(bytes(content))
        assert error.value.code == "dataset_archive_invalid"


def test_blank_rows_are_skipped_and_counted(upload):
    blanks = b"\n" + lines({"text": " \n"}, {}, {"text": None}, {"prompt": "a", "answer": ""})
    found, _ = upload(lines(A) + blanks + lines(B) + b"  \n")
    plain, _ = upload(lines(A, B))
    assert (found.id, found.rows, found.blank) == (plain.id, 2, 6)
    assert plain.blank == 0


def test_a_data_set_that_was_stored_without_their_number_has_no_blank_rows():
    """Those of versions that did not count them."""
    assert Ingested(id="sha256:0", fields=("text",), rows=1, images=0, bytes=9).blank == 0


def test_a_picture_that_the_job_could_not_read_is_refused(upload, monkeypatch):
    """The check is the job's own decoder, not another one."""

    def refuse(_):
        raise ValueError("odd at <_io.BytesIO object at 0x7f0000000000>")

    monkeypatch.setattr("app.uploads.images.as_rgb", refuse)
    with pytest.raises(DatasetError, match=r"row 1: the image does not decode: odd at it$"):
        upload(pairs(IMAGE))


def test_the_id_is_of_the_content_however_it_is_packed(upload):
    first, _ = upload(pairs(IMAGE, {"image": "a.png", "text": "b"}))
    rows = b'{ "image":"x/1.png", "text":"a"}\n{"text":"b","image":"x/1.png"}'
    files = {"n.jsonl": rows, "x/": b"", "x/1.png": png(), "x/2.png": b"nobody's"}
    second, directory = upload(archive(files, method=zipfile.ZIP_STORED))
    assert first == second
    assert (first.rows, first.images, first.fields) == (2, 1, ("text", "image"))
    other, _ = upload(pairs(IMAGE | {"text": "c"}))
    assert other.id != first.id
    assert len(list((directory / "images").iterdir())) == 1


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_make_anything_but_a_dataset_or_its_error(tmp_path, content):
    for made in (content, archive({"a.jsonl": lines(IMAGE), "a.png": content})):
        (tmp_path / "upload").write_bytes(made)
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        with suppress(DatasetError):
            assert ingest(tmp_path / "upload", directory, LIMITS).rows
