"""Packed files: bit for bit for every dtype, within the bound, and damage is noticed."""

import io
import json
import subprocess
import sys
import tracemalloc

import httpx2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from app.packed import unpack
from app.packed.pack import compress, pack
from workers.pipeline.export import write_decoder

DTYPES = {
    torch.float64: 64,
    torch.float32: 32,
    torch.float16: 16,
    torch.bfloat16: 16,
    torch.float8_e4m3fn: 8,
    torch.float8_e5m2: 8,
    torch.complex64: 64,
    torch.int64: 64,
    torch.int32: 32,
    torch.int16: 16,
    torch.int8: 8,
    torch.uint8: 8,
    torch.uint16: 16,
    torch.uint32: 32,
    torch.uint64: 64,
    torch.bool: 8,
}


def of_bits(dtype, shape, sparsity, seed=0):
    """A tensor of random bits, NaN and subnormal ones included, with so many of its elements 0."""
    rng = np.random.default_rng(seed)
    size = DTYPES[dtype] // 8
    raw = rng.integers(1, 2 if dtype is torch.bool else 256, (*shape, size)).astype(np.uint8)
    zeros = rng.permutation(int(np.prod(shape)))[: round(sparsity * np.prod(shape))]
    raw.reshape(-1, size)[zeros] = 0
    if 0 in shape:
        return torch.zeros(shape, dtype=dtype)  # torch cannot view nothing as another dtype
    return torch.from_numpy(raw).view(dtype).reshape(shape)


def packed_of(content, start=0):
    seen = []
    pieces = b"".join(pack(io.BytesIO(content), start, seen.append))
    return pieces, (sum(each.size for each in seen), sum(map(np.count_nonzero, seen)))


def unpacked_of(packed, have=b""):
    target = io.BytesIO(have)
    unpack.unpack(io.BytesIO(packed), target)
    return target.getvalue()


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from(list(DTYPES)),
            st.lists(st.integers(0, 40), max_size=3),
            st.floats(0, 1),
            st.integers(0, 9),
        ),
        max_size=5,
    )
)
@settings(deadline=None)
def test_every_dtype_comes_back_bit_for_bit(drawn):
    content = save({name: of_bits(*tensor) for name, tensor in drawn.items()}, {"format": "pt"})
    assert unpacked_of(packed_of(content)[0]) == content


def test_a_negative_zero_is_kept():
    content = save({"w": torch.tensor([0.0, -0.0, 1.0, 0.0] * 16)})
    packed, counts = packed_of(content)
    assert counts == (64, 32)
    assert unpacked_of(packed) == content


@pytest.mark.parametrize("dtype", list(DTYPES))
@given(sparsity=st.floats(0, 1), side=st.integers(64, 160))
@settings(deadline=None, max_examples=15)
def test_size_is_within_the_bound(dtype, sparsity, side):
    content = save({"w": of_bits(dtype, (side, side), sparsity)})
    made, (elements, left) = packed_of(content)
    bits, density = DTYPES[dtype], left / elements
    header = int.from_bytes(content[:8], "little") + 8
    packed, dense = len(made) - len(unpack.MAGIC) - header - 8, len(content) - header
    bound = 1.03 * (1 + bits * density) / bits
    # Beyond density 1 - 1 / bits the mask costs more than it saves; then none is written.
    assert packed <= min(bound, 1.001) * dense


def test_tensors_of_several_chunks(monkeypatch):
    monkeypatch.setattr(unpack, "CHUNK", 1000)
    content = save({"w": of_bits(torch.bfloat16, (57, 93), 0.6)})
    assert unpacked_of(packed_of(content)[0]) == content


@given(have=st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_what_is_there_is_not_sent_again(have):
    tensors = {"w": of_bits(torch.bfloat16, (57, 93), 0.6), "b": torch.ones(7), "e": torch.ones(0)}
    content = save(tensors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpack, "CHUNK", 1000)
        start = round(have * len(content))
        packed, (elements, _) = packed_of(content, start)
        assert elements * 2 <= len(content) - start + 2 * 1000 + 14
        assert unpacked_of(packed, content[:start]) == content


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_damage_is_noticed(data):
    content = save({"w": of_bits(torch.bfloat16, (64, 64), 0.5)})
    packed, _ = packed_of(content)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(unpack.DamagedError):
        unpacked_of(packed[:cut])
    with pytest.raises(unpack.DamagedError):
        unpacked_of(packed + b"\0")


def test_a_file_that_is_cut_off_is_not_packed():
    content = save({"w": torch.ones(64, 64)})
    for cut in (5, 20, len(content) - 1):
        with pytest.raises(unpack.DamagedError):
            packed_of(content[:cut])


def test_the_decoder_stands_alone(tmp_path):
    weights = {"w": of_bits(torch.float16, (64, 64), 0.7), "b": torch.ones(64)}
    dense = tmp_path / "model.safetensors"
    save_file(weights, dense)
    packed, _ = packed_of(dense.read_bytes())
    (tmp_path / "packed").write_bytes(packed)
    write_decoder(tmp_path)
    # -I: nothing of this project can be imported.
    command = [sys.executable, "-I", "unpack.py", "packed", "again.safetensors"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "again.safetensors").read_bytes() == dense.read_bytes()
    assert load_file(tmp_path / "again.safetensors").keys() == weights.keys()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_reader_that_stalls_holds_little_more_than_what_it_is_sent(tmp_path, compressed):
    file = tmp_path / "model.safetensors"
    save_file({"a": of_bits(torch.float16, (3 << 20,), 0.5)}, file)
    chunk = unpack.CHUNK * (1 + 16 * 0.5) / 8
    with file.open("rb") as source:
        tracemalloc.start()
        stream = compress(pack(source)) if compressed else pack(source)
        held = [tracemalloc.get_traced_memory()[0] for _ in stream]
        tracemalloc.stop()
    assert max(held) < 1.2 * chunk + (1 << 20 if compressed else 1 << 16)


HEADER = b'{"w":{"dtype":"F16","shape":[20],"data_offsets":[0,40]}}'
VALUES = np.array([0, 0x0102, 0, 0x0304] + [0] * 14 + [0x0506, 0x8000], "<u2")
GOLDEN = (
    b"SCTPACK1"
    + len(HEADER).to_bytes(8, "little")
    + HEADER
    + (8 + len(HEADER)).to_bytes(8, "little")
    + b"\4\0\0\0"  # stored
    + b"\x0a\0\x0c"  # mask
    + b"\2\4\6\0"  # first bytes
    + b"\1\3\5\x80"  # second bytes
)


def stored(header, data):
    return len(header).to_bytes(8, "little") + header + data


def test_the_form_is_the_one_that_is_documented():
    content = stored(HEADER, VALUES.tobytes())
    assert packed_of(content) == (GOLDEN, (20, 4))
    assert unpacked_of(GOLDEN) == content


def test_a_mask_is_written_where_it_saves_bytes():
    """Of 16 elements of a byte, 2 bytes of mask: three zeros pay, two do not."""
    header = b'{"w":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
    whole = len(header) + 8 + 8 + 8 + 4 + 16
    for zeros, size in ((0, whole), (1, whole), (2, whole), (3, whole + 2 - 3)):
        content = stored(header, bytes(zeros) + b"\1" * (16 - zeros))
        assert len(packed_of(content)[0]) == size
        assert unpacked_of(packed_of(content)[0]) == content


def test_a_chunk_has_a_mebi_of_elements():
    assert unpack.CHUNK == 1 << 20
    header = json.dumps({"w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 3 << 20]}}).encode()
    assert list(unpack.chunks(header)) == [(1 << 20, 1)] * 3
    header = header.replace(b"3145728", b"3145729")
    assert list(unpack.chunks(header)) == [(1 << 20, 1)] * 3 + [(1, 1)]


@pytest.mark.parametrize(
    ("dtype", "item"),
    [
        *((name, 8) for name in ("F64", "I64", "U64", "C64")),
        *((name, 4) for name in ("F32", "I32", "U32")),
        *((name, 2) for name in ("F16", "BF16", "I16", "U16")),
        *((name, 1) for name in ("U8", "I8", "BOOL", "F8_E4M3", "F4", "X")),
    ],
)
def test_bytes_of_an_element(dtype, item):
    header = json.dumps(
        {
            "__metadata__": {"a": "b"},
            "z": {"dtype": dtype, "shape": [2], "data_offsets": [0, 16]},
            "a": {"dtype": dtype, "shape": [1], "data_offsets": [16, 24]},
        }
    ).encode()
    assert list(unpack.chunks(header)) == [(16 // item, item), (8 // item, item)]


def test_headers_beyond_the_limit_of_safetensors_are_not_read():
    assert unpack.MAX_HEADER == 100_000_000
    at, beyond = (size.to_bytes(8, "little") for size in (10**8, 10**8 + 1))
    for length, says in ((at, "cut off"), (beyond, "header is too long")):
        with pytest.raises(unpack.DamagedError, match=says):
            packed_of(length)
        with pytest.raises(unpack.DamagedError, match=says):
            unpacked_of(unpack.MAGIC + length)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda packed: b"X" + packed[1:], "not a packed checkpoint"),
        (lambda packed: packed.replace(b"\4\0\0\0\x0a", b"\x15\0\0\0\x0a"), "more elements"),
        (lambda packed: packed.replace(b"\x0a\0\x0c", b"\x0a\0\x04"), "do not belong together"),
        (lambda packed: packed.replace(b"\x0a\0\x0c", b"\x0e\0\x0c"), "do not belong together"),
        (lambda packed: packed + b"\0", "bytes follow"),
        (lambda packed: packed[:-1], "cut off"),
    ],
)
def test_each_kind_of_damage_is_told(change, says):
    with pytest.raises(unpack.DamagedError, match=says):
        unpacked_of(change(GOLDEN))


def test_bits_behind_the_last_element_of_a_mask_say_nothing():
    assert unpacked_of(GOLDEN.replace(b"\x0a\0\x0c", b"\x0a\0\xfc")) == unpacked_of(GOLDEN)


def test_what_the_reader_has_is_cut_at_the_first_chunk_that_is_sent():
    content = stored(HEADER, VALUES.tobytes())
    whole, last = 8 + len(HEADER), len(content)
    for have, first in ((0, whole), (whole, whole), (last - 1, whole), (last, last)):
        packed, (elements, _) = packed_of(content, have)
        assert int.from_bytes(packed[8 + whole : 16 + whole], "little") == first
        assert elements == (20 if first == whole else 0)
        assert (
            unpacked_of(packed, content[:have] + b"left over from before" * (have == last))
            == content
        )


class Slow(io.BytesIO):
    """Gives a byte at a time, as a connection may."""

    def read(self, size=-1, /):
        return super().read(min(size, 1))


def test_packed_files_may_come_in_small_pieces():
    target = io.BytesIO()
    unpack.unpack(Slow(GOLDEN), target)
    assert target.getvalue() == unpacked_of(GOLDEN)


def test_what_is_packed_is_shown():
    content = stored(HEADER, VALUES.tobytes())
    seen = []
    assert b"".join(pack(io.BytesIO(content), look=seen.append)) == GOLDEN
    assert np.concatenate(seen).tolist() == VALUES.tolist()


def test_compressed_pieces_are_one_frame():
    whole = b"".join(compress([b"abc" * 1000, memoryview(b"def" * 1000), b""]))
    answer = httpx2.Response(200, headers={"Content-Encoding": "zstd"}, content=whole)
    assert answer.content == b"abc" * 1000 + b"def" * 1000


def test_the_decoder_takes_its_files_from_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "packed").write_bytes(GOLDEN)
    monkeypatch.setattr(sys, "argv", ["unpack.py", str(tmp_path / "packed"), str(tmp_path / "out")])
    unpack.main()
    assert (tmp_path / "out").read_bytes() == unpacked_of(GOLDEN)
