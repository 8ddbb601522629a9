"""Archives and images that would take far more than they weigh: refused, in bounded memory."""

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.domain.dataset_errors import DatasetError
from app.uploads.ingest import ingest
from app.uploads.limits import UploadLimits

LIMITS = UploadLimits(
    bytes=1 << 20, unpacked_bytes=1 << 20, rows=50, image_pixels=10_000, pixels=30_000
)
ROW = b'{"text": "a", "image": "a.png"}\n'
REFUSE = """
import resource, sys
from pathlib import Path
from app.domain.dataset_errors import DatasetError
from app.settings import Settings
from app.uploads.ingest import ingest
limits = Settings().datasets.limits
Path(sys.argv[2]).mkdir()
most = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    ingest(Path(sys.argv[1]), Path(sys.argv[2]), limits)
except DatasetError as error:
    print(error.code)
"""


def png(side=8, colour="red"):
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


def archive(files, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def listing(entries, count, size=None):
    """An archive that is nothing but its list of entries."""
    end = struct.pack(
        "<4s4H2LH",
        b"PK\5\6",
        0,
        0,
        *(2 * [count & 0xFFFF]),
        len(entries) if size is None else size,
        0,
        0,
    )
    return entries + end


def listed(name=b"a", offset=0, flags=0):
    fields = (20, 20, flags, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + name


def large_png(width, height):
    """A picture of zeros: as small a file as there is for its size."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scans(count):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    at = content.rindex(b"\xff\xda")
    return content[:at] + content[at:-2] * count + content[-2:]


@pytest.fixture
def refused(tmp_path):
    def refused(content):
        (tmp_path / "upload").write_bytes(content)
        directory = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        with pytest.raises(DatasetError) as error:
            ingest(tmp_path / "upload", directory, LIMITS)
        return error.value.code

    return refused


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_are_refused_whatever_is_packed(refused, method):
    files = {"rows.jsonl": ROW, "a.png": png()}
    assert refused(archive(files, method)) == "dataset_archive_invalid"
    out = io.BytesIO(archive(files))
    with zipfile.ZipFile(out, "a", method) as made:
        made.writestr("nobody-asked-for-it", b"\0" * 1000)
    assert refused(out.getvalue()) == "dataset_archive_invalid"


@pytest.mark.parametrize("method", [1, 6, 9, 93, 95, 98, 99])
def test_methods_that_are_unknown_are_refused(refused, method):
    content = bytearray(archive({"rows.jsonl": ROW, "a.png": png()}))
    at = content.rindex(b"PK\1\2")
    content[at + 10 : at + 12] = method.to_bytes(2, "little")
    assert refused(bytes(content)) == "dataset_archive_invalid"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (listing(listed() * 1051, 1051), "dataset_too_large"),
        (listing(listed() * 70_000, 70_000), "dataset_too_large"),
        (listing(listed() * 70_000, 1), "dataset_too_large"),  # a count that lies
        (listing(listed() * 2, 2, size=0xFFFF_FFF0), "dataset_archive_invalid"),
        (listing(listed(b"\xff\xfe", flags=0x800), 1), "dataset_archive_invalid"),
        (listing(listed(b"a" * 600), 1), "dataset_path_invalid"),
        (listing(listed(offset=0xFFFF_FFF0), 1), "dataset_archive_invalid"),
        (listing(listed()[:-9], 1), "dataset_archive_invalid"),
        (listing(listed(b"a", 0) + listed(b"b.jsonl", 0), 2), "dataset_archive_invalid"),
    ],
)
def test_lists_of_entries(refused, content, code):
    assert refused(content) == code
    assert refused(b"PK\3\4" + bytes(26) + content) in {code, "dataset_archive_invalid"}


def test_entries_that_share_bytes_are_refused(refused):
    content = archive({"rows.jsonl": ROW, "a.png": png(), "b.png": png(9)})
    at = content.rindex(b"PK\1\2")
    offset = content.index(b"PK\3\4", 5)  # of a.png, for b.png
    shared = content[: at + 42] + offset.to_bytes(4, "little") + content[at + 46 :]
    assert refused(shared) == "dataset_archive_invalid"


def test_one_entry_may_not_be_larger_than_an_image_or_all_of_it(refused):
    image = {"rows.jsonl": ROW, "a.png": png() + b"\0" * (1 << 17)}
    assert refused(archive(image | {"x": b"\0" * (1 << 20)})) == "dataset_too_large"
    rows = {"rows.jsonl": b'{"text": "' + b"x" * (3 << 19) + b'"}'}
    assert refused(archive(rows)) == "dataset_too_large"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (large_png(101, 100), "dataset_image_too_large"),
        (large_png(60_000, 60), "dataset_image_too_large"),
        (scans(201), "dataset_image_invalid"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0", "dataset_image_invalid"),
        (
            b"BM" + bytes(12) + struct.pack("<Iii", 40, 2**31 - 1, 2**31 - 1),
            "dataset_image_invalid",
        ),
        (b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + bytes(13), "dataset_image_invalid"),
    ],
)
def test_images_are_measured_before_they_are_decoded(refused, content, code):
    assert refused(archive({"rows.jsonl": ROW, "a.png": content})) == code


@pytest.mark.parametrize("blank", [b"\n", b" \r\n", b"{}\n", b'{"text": " "}\n'])
def test_rows_that_say_nothing_are_bounded_too(refused, blank):
    rows = blank * (LIMITS.rows + 1) + b'{"text": "a"}\n'
    assert refused(rows) == "dataset_too_large"
    assert refused(archive({"rows.jsonl": rows})) == "dataset_too_large"


def packed_bmp(kind, bits, content):
    side, colours = 64, 4 << bits
    begin = 54 + colours
    head = struct.pack("<2sI2HI", b"BM", begin + len(content), 0, 0, begin)
    size = struct.pack("<I2i2H6I", 40, side, side, 1, bits, kind, len(content), 1, 1, 1 << bits, 0)
    return head + size + bytes(colours) + content


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (2, 4)])
def test_run_lengths_are_refused_since_their_decoder_takes_long(refused, kind, bits):
    image = packed_bmp(kind, bits, b"\x01\x01\0\0" * 64)
    assert refused(archive({"rows.jsonl": ROW, "a.png": image})) == "dataset_image_invalid"


WARN = """
import sys
from app.uploads.images import check_image
check_image(sys.stdin.buffer.read(), 1, 100)
"""


def test_no_image_fills_the_log_with_warnings():
    entry = struct.Struct("<2H2I")
    entries = b"".join(entry.pack(tag, 2, 0xFFFF, 0xFFFF0000) for tag in range(900, 1900))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1000) + entries
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "JPEG", exif=exif)
    ended = subprocess.run(
        [sys.executable, "-c", WARN], input=plain.getvalue(), capture_output=True, check=True
    )
    assert ended.stderr == b""


def test_all_images_together_are_bounded(refused):
    rows = b"".join(b'{"text": "a", "image": "%d.png"}\n' % n for n in range(4))
    files = {f"{n}.png": png(99, (n, 0, 0)) for n in range(4)}
    assert refused(archive({"rows.jsonl": rows} | files)) == "dataset_too_large"


def zeros(count):
    """An archive whose picture unpacks to so many zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("rows.jsonl", ROW)
        with made.open("a.png", "w") as stream:
            for _ in range(count >> 20):
                stream.write(bytes(1 << 20))
    return out.getvalue()


BOMBS = {
    "entries": (lambda: listing(listed() * 700_000, 700_000), "dataset_too_large"),
    "nesting": (lambda: b"[" * 1_000_000, "dataset_row_invalid"),
    "digits": (lambda: b'{"text": ' + b"9" * 1_000_000 + b"}", "dataset_row_invalid"),
    "pixels": (
        lambda: archive({"rows.jsonl": ROW, "a.png": large_png(6_000, 6_000)}),
        "dataset_image_too_large",
    ),
    "zeros": (lambda: zeros(200 << 20), "dataset_too_large"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(tmp_path, name):
    make, code = BOMBS[name]
    (tmp_path / "upload").write_bytes(make())
    most = 450 << 20  # bytes of address space; the imports take most of it
    told = [str(tmp_path / "upload"), str(tmp_path / "out"), str(most)]
    ran = subprocess.run(
        [sys.executable, "-c", REFUSE, *told], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == code, ran.stderr


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6
    ),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]),
)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_archive_is_a_data_set_or_our_error(tmp_path, changes, kind):
    out = io.BytesIO()
    Image.new("RGB", (20, 20), "blue").save(out, kind)
    content = bytearray(archive({"rows.jsonl": ROW, "a.png": out.getvalue()}, zipfile.ZIP_STORED))
    for at, value in changes:
        content[at % len(content)] = value
    (tmp_path / "upload").write_bytes(bytes(content))
    directory = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    directory.mkdir()
    with suppress(DatasetError):
        assert ingest(tmp_path / "upload", directory, LIMITS).rows == 1
