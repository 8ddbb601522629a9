"""Forms of browsers: in pieces of any size, broken, and with more than is theirs to hold."""

import io

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.uploads.errors import DatasetFormError
from app.uploads.form import UploadForm

ROWS = b'{"text": "one"}\r\n--{"text": "two"}\n'
TYPE = "multipart/form-data; boundary=b"


def read(body, kind=TYPE, size=1 << 16):
    file = io.BytesIO()
    form = UploadForm(kind, file)
    for start in range(0, len(body), size):
        form.write(body[start : start + size])
    form.end()
    return form.fields, file.getvalue()


def part(name, content, file=None):
    named = f'; filename="{file}"' if file is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = b"--b--\r\n"
FILE = part("file", ROWS, "rows.jsonl")


@given(st.integers(1, 200), st.binary(max_size=300))
def test_what_a_client_sends_arrives_in_pieces_of_any_size(size, content):
    sent = httpx2.Request(
        "POST", "http://x", data={"csrf_token": "ab\u00fc"}, files={"file": ("a.zip", content)}
    )
    fields, file = read(sent.read(), sent.headers["content-type"], size)
    assert (fields, file) == ({"csrf_token": "ab\u00fc"}, content)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "cut off"),
        (FILE, "cut off"),
        (FILE[:-30], "cut off"),
        (END, "no file"),
        (part("text", b"x") + END, "no file"),
        (FILE + FILE + END, "more than one file"),
        (part("long", b"x" * 5000) + FILE + END, "longer than 4096"),
        (b"".join(part(str(n), b"x" * 4000) for n in range(5)) + FILE + END, "beside its file"),
        (part("", b"") * 500 + FILE + END, "beside its file"),
        (FILE + END + b"x" * 20_000, "beside its file"),
        (b"--c" + FILE + END, "no form"),
        (b"{}", "no form"),
        (b"--b\r\nno header\r\n\r\nx\r\n" + FILE + END, "no form"),
        (b"--b\r\n" + b"X-Long: " + b"x" * 9000 + b"\r\n\r\nx\r\n" + END, "no form"),
    ],
)
def test_what_is_no_such_form_is_told(body, told):
    with pytest.raises(DatasetFormError, match=told):
        read(body)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300]
)
def test_a_form_without_a_boundary_is_refused(kind):
    with pytest.raises(DatasetFormError):
        read(FILE + END, kind)


def test_a_part_without_a_name_is_not_taken_for_the_file():
    fields, file = read(FILE + b"--b\r\nX: y\r\n\r\nmore\r\n" + END)
    assert (fields, file) == ({"": "more"}, ROWS)


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_file_that_looks_like_the_end_of_a_part_counts_as_file(size):
    content = b"\r\n--" * 10_000
    fields, file = read(part("csrf_token", b"a") + part("file", content, "a.zip") + END, size=size)
    assert (fields, file) == ({"csrf_token": "a"}, content)
