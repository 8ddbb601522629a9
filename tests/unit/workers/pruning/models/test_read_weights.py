"""One reading of the exported files tells their sizes, their digests and the zeros in them."""

import hashlib
import io
import json

import pytest
import torch
from safetensors.torch import save, save_file

from app.packed import unpack
from app.packed.pack import compress, pack
from workers.pruning.models.export import read_weights

CHUNK = unpack.CHUNK


def tensor(zeros, dtype=torch.float32, shape=(10, 10)):
    values = torch.ones(shape, dtype=dtype)
    values.view(-1)[:zeros] = 0
    return values


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.float8_e4m3fn, torch.int8, torch.uint8),
    ],
)
def test_zeros_are_counted_in_each_tensor(tmp_path, dtype):
    tensors = {"a": tensor(0, dtype), "w": tensor(50, dtype), "z": tensor(100, dtype)}
    save_file(tensors | {"none": tensor(0, dtype, (0, 3))}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path).zeros == {"a": 0, "w": 50, "z": 100, "none": 0}


def test_zeros_are_counted_over_the_pieces_of_a_tensor(tmp_path):
    tensors = {
        "a": tensor(3, shape=(7,)),
        "w": tensor(CHUNK + 5, shape=(2 * CHUNK + 9,)),
        "z": tensor(CHUNK, torch.float64, shape=(CHUNK,)),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert read_weights(tmp_path).zeros == {"a": 3, "w": CHUNK + 5, "z": CHUNK}


def test_negative_zeros_are_zeros_that_a_download_stores(tmp_path):
    weights = tensor(10, torch.bfloat16)
    weights[9] = -0.0
    save_file({"w": weights}, tmp_path / "model.safetensors")
    found = read_weights(tmp_path)
    assert found.zeros == {"w": 20}
    assert found.sizes.nonzeros == 90


def test_zeros_of_wide_integers_are_not_told(tmp_path):
    save_file({"ids": tensor(4, torch.int32), "w": tensor(1)}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path).zeros == {"w": 1}


def test_sizes_and_digests_are_those_of_the_files_and_of_the_download(tmp_path):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(64, 64, generator=generator).half()
    weights[weights.abs() < 0.7] = 0
    content = save({"w": weights, "b": torch.ones(64)})
    (tmp_path / "model.safetensors").write_bytes(content)
    found = read_weights(tmp_path)
    assert found.digests == {"model.safetensors": hashlib.sha256(content).hexdigest()}
    assert (found.sizes.dense, found.sizes.elements) == (len(content), 64 * 64 + 64)
    assert found.sizes.nonzeros == 64 + int(weights.count_nonzero())
    assert found.sizes.packed == len(b"".join(compress(pack(io.BytesIO(content)))))


def test_all_files_that_the_index_names_are_read_and_no_others(tmp_path):
    places = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        places[f"w{number}"] = name
        tensors = {f"w{number}": tensor(number), f"unnamed{number}": tensor(7)}
        save_file(tensors, tmp_path / name, metadata={"format": "pt"})
    save_file({"masks": tensor(8)}, tmp_path / "other.safetensors")
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_weights(tmp_path)
    assert found.zeros == {"w1": 1, "w2": 2}
    assert found.digests == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in places.values()
    }
    assert found.sizes.dense == sum((tmp_path / name).stat().st_size for name in places.values())
    assert 0 < found.sizes.packed < found.sizes.dense
    assert (found.sizes.elements, found.sizes.nonzeros) == (400, 400 - 1 - 2 - 7 - 7)
