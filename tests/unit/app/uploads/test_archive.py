"""Every bound of an archive: what is just within it is taken, and what is just beyond is not."""

import io
import stat
import struct
import zipfile

import pytest

from app.uploads.archive import Archive
from app.uploads.errors import (
    DatasetArchiveError,
    DatasetError,
    DatasetPathError,
    DatasetTooLargeError,
)
from app.uploads.limits import UploadLimits

MIB = 1 << 20
LIMITS = UploadLimits(bytes=1 << 40, unpacked_bytes=1 << 40, rows=50, image_pixels=10_000)
ROWS = b'{"text": "a"}\n'


def entry(name=b"a.jsonl", *, size=0, packed=0, offset=0, attributes=0):
    """One line of an archive's list of entries, whatever is at its place."""
    sizes = (packed, size, len(name))
    fields = (20, 20, 0, 0, 0, 33, 0, *sizes, 0, 0, 0, 0, attributes, offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + name


def forged(*entries, before=bytes(100)):
    """An archive with this list of entries behind `before`."""
    listing = b"".join(entries)
    counts = 2 * [len(entries) & 0xFFFF]
    return (
        before
        + listing
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *counts, len(listing), len(before), 0)
    )


def packed(files, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


@pytest.fixture
def open_(tmp_path):
    def open_(content, limits=LIMITS):
        file = tmp_path / "upload.zip"
        file.write_bytes(content)
        return Archive(file, limits)

    return open_


@pytest.fixture
def taken(open_):
    """Whether an archive can be opened, or the error that says why not."""

    def taken(content, limits=LIMITS):
        try:
            with open_(content, limits):
                return None
        except DatasetError as error:
            return type(error)

    return taken


def test_entries_are_counted(taken):
    most = LIMITS.rows + 1000
    whole = packed({"a.jsonl": ROWS} | {str(n): b"" for n in range(most - 1)})
    assert taken(whole) is None
    more = packed({"a.jsonl": ROWS} | {str(n): b"" for n in range(most)})
    assert taken(more) is DatasetTooLargeError


@pytest.mark.parametrize(
    ("size", "expected"), [(32 * MIB, DatasetArchiveError), (32 * MIB + 1, DatasetTooLargeError)]
)
def test_the_list_of_entries_is_bounded_before_it_is_read(tmp_path, size, expected):
    file = tmp_path / "upload.zip"
    with file.open("wb") as out:
        out.truncate(size)  # a hole: it takes no room on the disk
        out.seek(size)
        out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))
    with pytest.raises(expected):
        Archive(file, LIMITS)


def test_names_are_bounded(taken):
    def named(length):
        return packed({"a.jsonl": ROWS, "x" * length: b""})

    assert taken(named(512)) is None
    assert taken(named(513)) is DatasetPathError


def test_a_small_archive_unpacks_to_64_mib_at_the_most(taken):
    assert taken(forged(entry(size=64 * MIB))) is None
    assert taken(forged(entry(size=64 * MIB + 1))) is DatasetTooLargeError
    halves = [entry(size=32 * MIB), entry(b"b", size=32 * MIB + 1)]
    assert taken(forged(*halves)) is DatasetTooLargeError


def test_a_large_archive_unpacks_to_200_times_its_size(taken):
    before = bytes(400_000)
    weight = len(forged(entry(), before=before))
    assert 200 * weight > 64 * MIB
    assert taken(forged(entry(size=200 * weight), before=before)) is None
    assert taken(forged(entry(size=200 * weight + 1), before=before)) is DatasetTooLargeError


def test_the_service_says_how_much_at_the_most(taken):
    limits = UploadLimits(bytes=1000, unpacked_bytes=1000, rows=50, image_pixels=100)
    assert taken(forged(entry(size=1000)), limits) is None
    assert taken(forged(entry(size=1001)), limits) is DatasetTooLargeError


def test_what_is_read_is_counted_whatever_was_declared(open_):
    limits = UploadLimits(bytes=1000, unpacked_bytes=1000, rows=50, image_pixels=100)
    files = {"a.jsonl": ROWS, "b": bytes(400)}
    with open_(packed(files), limits) as archive:
        assert archive.read("b", 400) == bytes(400)
        assert archive.read("b", 500) == bytes(400)
        with pytest.raises(DatasetTooLargeError, match="unpacks to more"):
            archive.read("b", 400)
    with open_(packed(files), limits) as archive:
        assert archive.read("b", 399) == bytes(400), "one more, which tells that it is longer"
        assert archive.read("b", 9) == bytes(10)
        assert archive.read("b", 588) == bytes(400)
        assert archive.read("b", 189) == bytes(190), "to the last byte"
        with pytest.raises(DatasetTooLargeError):
            archive.read("b", 400)


def test_lines_are_counted_too(open_):
    limits = UploadLimits(bytes=1000, unpacked_bytes=1000, rows=50, image_pixels=100)
    rows = (b"x" * 99 + b"\n") * 4
    with open_(packed({"a.jsonl": rows}), limits) as archive:
        assert list(archive.lines(100)) == [b"x" * 99 + b"\n"] * 4
        assert b"".join(archive.lines(100)) == rows
        with pytest.raises(DatasetTooLargeError):
            list(archive.lines(100))
    with open_(packed({"a.jsonl": b"x" * 30 + b"\nyy\n"}), limits) as archive:
        lines = archive.lines(9)
        assert next(lines) == b"x" * 10, "one more, which tells that it is longer"
        lines.close()


def test_what_is_not_there_is_none(open_):
    with open_(packed({"a.jsonl": ROWS, "images/": b""})) as archive:
        assert archive.read("b", 10) is None
        assert archive.read("images/", 10) is None, "a folder has no content"


def test_marks_of_entries_inside_contents_are_no_entries(open_):
    content = b"PK\1\2" * 2000
    with open_(packed({"a.jsonl": ROWS, "b": content}, zipfile.ZIP_STORED)) as archive:
        assert archive.read("b", 10_000) == content


def test_entries_lie_one_after_the_other(taken):
    """At least 30 bytes of a header come before what an entry has."""
    before = bytes(200)

    def two(second, length=50):
        entries = [entry(offset=10, packed=length), entry(b"b", offset=second)]
        return taken(forged(*entries, before=before))

    assert two(10 + 30 + 50) is None
    assert two(10 + 30 + 49) is DatasetArchiveError
    reversed_ = [entry(b"b", offset=90), entry(offset=10, packed=51)]
    assert taken(forged(*reversed_, before=before)) is DatasetArchiveError


def test_entries_end_before_the_list_begins(taken):
    def last(length):
        return taken(forged(entry(offset=20, packed=length), before=bytes(200)))

    assert last(150) is None
    assert last(151) is DatasetArchiveError


@pytest.mark.parametrize(
    "name", ["/a", "../a", "a/../b", "a/..", "..", "C:a", "a\\b", "\\a", "a:b"]
)
def test_paths_that_leave_the_archive(taken, name):
    assert taken(forged(entry(), entry(name.encode(), offset=34))) is DatasetPathError
    assert taken(forged(entry(), entry(b"a\0b", offset=34))) is DatasetPathError


@pytest.mark.parametrize("name", ["a", "a/b", "a/.b", "...", "a..b", "a/...", "ä/ö"])
def test_paths_that_stay_inside(taken, name):
    assert taken(packed({"a.jsonl": ROWS, name: b"x"})) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (0, None),
        (stat.S_IFREG | 0o644, None),
        (stat.S_IFDIR | 0o755, None),
        (stat.S_IFLNK | 0o777, DatasetPathError),
        (stat.S_IFCHR, DatasetPathError),
        (stat.S_IFIFO, DatasetPathError),
    ],
)
def test_only_files_and_folders_are_entries(taken, kind, expected):
    content = forged(entry(), entry(b"b", offset=34, attributes=kind << 16), before=bytes(200))
    assert taken(content) is expected


def test_a_link_is_refused_even_where_it_is_called_a_folder(taken):
    link = entry(b"b/", offset=34, attributes=(stat.S_IFLNK | 0o777) << 16)
    assert taken(forged(entry(), link, before=bytes(200))) is DatasetPathError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jsonl"], None),
        (["x/b.jsonl", "a.jsonl"], None),
        (["x/b.jsonl"], DatasetArchiveError),
        (["a.jsonl", "b.jsonl"], DatasetArchiveError),
        (["a.json"], DatasetArchiveError),
    ],
)
def test_one_file_of_rows_lies_at_the_top(open_, taken, names, expected):
    content = packed({name: name.encode() for name in names})
    assert taken(content) is expected
    if expected is None:
        with open_(content) as archive:
            assert list(archive.lines(100)) == [b"a.jsonl"]


def test_rows_in_a_folder_are_named(open_):
    content = packed({"captions/rows.jsonl": b"", "captions/a.png": b""})
    with pytest.raises(DatasetArchiveError, match=r"'captions/rows\.jsonl' is in a folder"):
        open_(content)


def test_an_archive_that_is_refused_is_closed(open_, monkeypatch):
    closed = []
    close = io.FileIO.close
    monkeypatch.setattr(
        "app.uploads.archive._Directory.close", lambda self: (closed.append(self), close(self))
    )
    with pytest.raises(DatasetTooLargeError) as error:
        open_(forged(entry(size=1 << 30)))
    assert closed
    del error


def test_leaving_closes_the_file(open_):
    with open_(packed({"a.jsonl": ROWS})) as archive:
        pass
    assert archive._file.closed
    with pytest.raises(DatasetArchiveError):
        archive.read("a.jsonl", 10)
