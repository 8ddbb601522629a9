"""Headers of safetensors files: read as the format's own reader does, or refused in words."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.errors import ModelLoadError
from app.planning.model_files.headers import BITS, read_header


def write(file, header, data=b"", length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(content) if length is None else length
    file.write_bytes(size.to_bytes(8, "little") + content + data)
    return file


def entry(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_it_agrees_with_the_formats_own_writer(tmp_path):
    tensors = {
        "a": np.zeros((2, 3), np.float16),
        "b.c": np.zeros((), np.int64),
        "d": np.zeros((0, 4), np.float32),
        "e": np.ones((5,), np.uint8),
    }
    save_file(tensors, tmp_path / "x", metadata={"format": "np"})
    found = read_header(tmp_path / "x")
    assert {name: each.shape for name, each in found.items()} == {
        name: each.shape for name, each in tensors.items()
    }
    assert {name: each.bytes for name, each in found.items()} == {
        name: each.nbytes for name, each in tensors.items()
    }
    content = (tmp_path / "x").read_bytes()
    assert content[found["e"].begin : found["e"].end] == b"\1" * 5


@pytest.mark.parametrize(
    "header",
    [
        *([], 3, None, "a", [[]], {"a": []}, {"a": None}, {"a": 1}, {"a": "b"}, {"a": {}}),
        *({"a": entry(dtype=d)} for d in (None, 3, [], {}, "F33", "f32", "")),
        *({"a": entry(dtype=d)} for d in ("F16", "F64", "BOOL")),  # another size
        *({"a": entry() | {"shape": s}} for s in (None, 6, "23", {}, [2, "3"], [2, [3]])),
        *({"a": entry() | {"shape": s}} for s in ([2.0, 3], [True, 6], [-2, -3], [2, None])),
        {"a": entry(shape=(1 << 62, 4), offsets=(0, 0))},
        {"a": entry(shape=(10**19, 0), offsets=(0, 0))},
        {"a": entry(shape=(1,) * 10_000 + (6,))},
        *({"a": entry() | {"data_offsets": o}} for o in (None, 0, [], [0], [0, 24, 24], [24, 0])),
        *(
            {"a": entry() | {"data_offsets": o}}
            for o in ([-24, 0], ["0", "24"], [8, 32], [0.0, 24])
        ),
        {"a": entry(), "b": entry()},  # the same bytes
        {"a": entry(), "b": entry(offsets=(25, 49))},  # a hole
        {"a" * 2000: entry()},
        {"__metadata__": []},
        {"__metadata__": {"a": 1}},
        {"__metadata__": {"a": {}}},
        *(b"[" * 100_000, b'{"a":' * 100_000, b"{", b"", b"\xff\xfe{}", b'{"a": NaN}'),
        b'{"a": {"shape": [' + b"9" * 1_000_000 + b"]}}",
        b'{"a": 1, "a": 1}',
    ],
)
def test_odd_headers_are_refused(tmp_path, header):
    file = write(tmp_path / "model.safetensors", header, bytes(24))
    with pytest.raises(ModelLoadError, match=r"^model\.safetensors is broken or truncated"):
        read_header(file)


@pytest.mark.parametrize(
    ("length", "data"), [(0, 24), (1, 24), (10**9, 24), (2**64 - 1, 24), (None, 23), (None, 25)]
)
def test_lengths_that_do_not_fit_are_refused(tmp_path, length, data):
    with pytest.raises(ModelLoadError):
        read_header(write(tmp_path / "x", {"a": entry()}, bytes(data), length))


def test_a_longer_header_than_is_accepted_is_not_read(tmp_path):
    write(tmp_path / "x", {"a": entry()}, bytes(24))
    with pytest.raises(ModelLoadError, match="10 are accepted"):
        read_header(tmp_path / "x", 10)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | st.sampled_from(sorted(BITS)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a"]), inner)
    ),
    max_leaves=8,
)
_ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*sorted(BITS), "X"]),
        "shape": st.lists(st.integers(0, 4), max_size=3),
        "data_offsets": st.tuples(st.sampled_from([0, 8]), st.sampled_from([0, 8, 16])),
    }
)


@given(
    header=st.dictionaries(st.text(max_size=3), _ENTRY | _ANY, max_size=3), size=st.integers(0, 24)
)
@settings(max_examples=150, deadline=None)
def test_what_it_accepts_the_formats_own_reader_accepts(tmp_path_factory, header, size):
    file = write(tmp_path_factory.getbasetemp() / "x.safetensors", header, bytes(size))
    try:
        found = read_header(file)
    except ModelLoadError:
        return
    with safe_open(file, framework="np") as stored:
        assert set(stored.keys()) == set(found)
        for name, tensor in found.items():
            assert tuple(stored.get_slice(name).get_shape()) == tensor.shape


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_header_or_our_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "y.safetensors"
    file.write_bytes(content)
    try:
        read_header(file)
    except ModelLoadError:
        with pytest.raises(SafetensorError), safe_open(file, framework="np"):
            pass


def test_the_largest_header_takes_bounded_memory(tmp_path):
    """In a process whose memory is limited: 15 MB of header that parse to as much as can be."""
    content = b'{"a":[' + b'{"":0},' * 250_000 + b"0]}"
    write(tmp_path / "x", content + b" " * ((15 << 20) - len(content)))
    limit = 700 << 20
    code = (
        "import resource, sys; from app.errors import ModelLoadError\n"
        "from app.planning.model_files.headers import read_header; from pathlib import Path\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "try: read_header(Path(sys.argv[1]))\n"
        "except ModelLoadError: print(*open('/proc/self/status'), sep='')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=True,
    )
    # Of this program alone: what getrusage tells was the parent's once.
    [peak] = [line for line in ran.stdout.splitlines() if line.startswith("VmHWM")]
    assert int(peak.split()[1]) * 1024 < limit
