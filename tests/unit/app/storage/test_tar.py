"""Archives of any names and sizes, as tarfile reads them."""

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from app.domain.jobs import Artifact
from app.storage.tar import tar_size, tar_stream

PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(PARTS.filter(lambda part: part not in {".", ".."}), min_size=1, max_size=3)


@given(st.dictionaries(PATHS.map("/".join), st.binary(max_size=2000), max_size=4))
def test_what_goes_in_comes_out(contents):
    files = [
        Artifact("job", 1, path, len(content), "", "text/plain")
        for path, content in contents.items()
    ]
    stream = b"".join(tar_stream(files, "job", lambda file: iter([contents[file.path]])))
    assert len(stream) == tar_size(files, "job")
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        got = {member.name: archive.extractfile(member).read() for member in archive}
    assert got == {f"job/{path}": content for path, content in contents.items()}


def test_a_size_beyond_eight_gibibytes_is_told():
    file = Artifact("job", 1, "model.safetensors", 9 << 30, "", "")
    head = next(tar_stream([file], "job", lambda _: iter(())))
    assert b"size=" + str(9 << 30).encode() in head
    assert tar_size([file], "job") == len(head) + (9 << 30) + 1024
