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
from app.planning.model_files.headers import BITS, header_length, parse_header, read_header


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


def parsed(header, size=0, length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(content) if length is None else length
    return parse_header(content, length, "x", 8 + length + size)


def refused(header, says, size=0):
    with pytest.raises(ModelLoadError, match=says):
        parsed(header, size)


def test_lengths_of_headers():
    for length in (2, 16 << 20):
        assert header_length(length.to_bytes(8, "little"), "x") == length
    for length, says in ((1, "no header"), ((16 << 20) + 1, "16777216 are accepted")):
        with pytest.raises(ModelLoadError, match=says):
            header_length(length.to_bytes(8, "little"), "x")
    with pytest.raises(ModelLoadError, match="no header"):
        header_length(bytes([9, 0, 0, 0, 0, 0, 0]), "x")
    assert header_length((10).to_bytes(8, "little"), "x", 10) == 10
    with pytest.raises(ModelLoadError, match="11 bytes long; 10 are accepted"):
        header_length((11).to_bytes(8, "little"), "x", 10)


def test_a_pointer_of_git_is_told_as_one(tmp_path):
    (tmp_path / "x").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelLoadError, match="run git lfs pull"):
        read_header(tmp_path / "x")


def test_a_header_may_have_so_many_values():
    def noted(values):
        return {"__metadata__": {"a": "," * (values - 2)}}

    assert parsed(noted(1 << 19)) == {}
    refused(noted((1 << 19) + 1), "more than 524288 values")


def test_a_header_may_be_so_deep():
    refused({"a": entry() | {"shape": [[]]}}, "nested more than 3 deep")


def test_bounds_of_one_tensor():
    assert set(parsed({"a" * 1024: entry()}, 24)) == {"a" * 1024}
    refused({"a" * 1025: entry()}, "a name of 1025 characters", 24)
    assert parsed({"a": entry(shape=(1,) * 15 + (6,))}, 24)["a"].numel == 6
    refused({"a": entry(shape=(1,) * 16 + (6,))}, "has no shape", 24)
    assert parsed({"a": entry(shape=(1 << 48, 0), offsets=(0, 0))})["a"].numel == 0
    refused({"a": entry(shape=((1 << 48) + 1, 0), offsets=(0, 0))}, "has no shape")


def test_places_count_from_the_end_of_the_header():
    found = parsed({"a": entry(), "b": entry("U8", (3,), (24, 27))}, 27)
    header = len(json.dumps({"a": entry(), "b": entry("U8", (3,), (24, 27))}))
    assert (found["a"].begin, found["a"].end) == (8 + header, 8 + header + 24)
    assert (found["b"].begin, found["b"].end) == (8 + header + 24, 8 + header + 27)
    assert {(each.file, each.dtype) for each in found.values()} == {("x", "F32"), ("x", "U8")}


@pytest.mark.parametrize(
    ("size", "says"),
    [(23, r"cut off: \d+ of \d+ bytes are there"), (25, "1 bytes follow its last tensor")],
)
def test_what_is_missing_or_too_much_is_told(size, says):
    refused({"a": entry()}, says, size)


def test_empty_tensors_may_lie_anywhere_between_the_others():
    nothing = entry("F32", (0, 4), (24, 24))
    tensors = {"b": entry(offsets=(24, 48)), "z": nothing, "a": entry(), "y": nothing}
    assert set(parsed(tensors, 48)) == {"a", "b", "y", "z"}


def test_a_header_that_is_cut_off():
    with pytest.raises(ModelLoadError, match="cut off in the header"):
        parsed(b"{}", length=3)
    assert parsed(b"{}") == {}


def test_types_of_less_than_a_byte():
    assert parsed({"a": entry("F4", (3, 2), (0, 3))}, 3)["a"].bytes == 3
    refused({"a": entry("F4", (3, 1), (0, 2))}, "other data_offsets", 2)
    refused({"a": entry("F4", (3, 1), (0, 1))}, "other data_offsets", 1)


WIDTHS = {
    8: ("F64", "I64", "U64", "C64"),
    4: ("F32", "I32", "U32"),
    2: ("F16", "BF16", "I16", "U16"),
    1: ("BOOL", "I8", "U8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4"),
}


@pytest.mark.parametrize(
    ("dtype", "width"), [(dtype, width) for width, each in WIDTHS.items() for dtype in each]
)
def test_bytes_of_a_value_by_type(dtype, width):
    half = 2 if dtype == "F4" else 1
    found = parsed({"a": entry(dtype, (half,), (0, width))}, width)["a"]
    assert (found.width, found.bytes) == (width, width)
