"""A run on its own output files comes to the same bytes as one in memory, and holds less."""

import gc
import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import ModelLoadError
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from tests.families import BY_NAME, records
from workers.pruning import memory
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, export_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

EVERY_METHOD = sorted(WEIGHT_METHODS)
THOROUGH = ("llava",)  # with every method, the others with two each
CASES = [(family, method) for family in THOROUGH for method in EVERY_METHOD] + [
    (family, method)
    for at, family in enumerate(sorted(set(BY_NAME) - set(THOROUGH)))
    for method in ("wanda", EVERY_METHOD[at % len(EVERY_METHOD)])
]


@pytest.fixture(autouse=True)
def _nothing_is_too_small_for_a_file(monkeypatch):
    monkeypatch.setattr(memory, "_SMALL", 1)


def pruned_into(destination, source, method, kind, *, in_place):
    memory = None
    if in_place:
        copy_checkpoint(source, destination)
        memory = Memory(destination, activations=0, scratch=destination)
    adapter = adapt(load_model(source, memory=memory), include_bridge=True)
    batches = []
    if WEIGHT_METHODS[method].needs_data:
        batches = list(adapter.batches(records(kind), batch_size=3, max_length=24))
    few = {"stages": 2} if "stages" in WEIGHT_METHODS[method].model_fields else {}
    recipe = build_recipe(method, few, "unstructured", sparsity=0.5)
    report = prune(adapter, recipe, batches)
    if in_place:
        write_back(destination, adapter.matrices, adapter.memory)
    else:
        export_checkpoint(source, destination, adapter.matrices)
    return report, adapter


def digests(directory):
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.parametrize(("family", "method"), CASES)
def test_the_result_is_the_same_bit_by_bit(family, method, family_directory, tmp_path):
    source, kind = family_directory(family), BY_NAME[family].kind
    before = digests(source)
    dense, _ = pruned_into(tmp_path / "a", source, method, kind, in_place=False)
    report, adapter = pruned_into(tmp_path / "b", source, method, kind, in_place=True)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert report == dense
    assert digests(source) == before
    ranges = [
        (file.data_ptr(), file.data_ptr() + file.nbytes())
        for file in adapter.memory._files.values()
    ]
    for matrix in adapter.matrices:
        assert any(low <= matrix.parameter.data_ptr() < high for low, high in ranges), matrix.name


def test_narrower_matrices_and_unpadded_headers_are_placed_beside(family_directory, tmp_path):
    source = tmp_path / "source"
    copy_checkpoint(family_directory("llama"), source)
    tensors = load_file(source / "model.safetensors")
    for key, value in tensors.items():
        tensors[key] = value.bfloat16() if "mlp" in key else value
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    raw = (source / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].rstrip() + b"   "
    header += b" " * (1 - len(header) % 2)  # odd: no tensor is aligned to anything
    (source / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + raw[8 + length :]
    )
    dense, _ = pruned_into(tmp_path / "a", source, "wanda", "text", in_place=False)
    report, _ = pruned_into(tmp_path / "b", source, "wanda", "text", in_place=True)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert report == dense


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_weights_are_let_go_and_come_back_as_they_were_written(tmp_path):
    size = 64 << 20
    file = tmp_path / "weights"
    file.write_bytes(bytes(size))
    held = Memory(tmp_path)
    bytes_ = torch.empty(0, dtype=torch.uint8).set_(held.map(file), 0, (size,))
    before = resident()
    bytes_.fill_(7)
    assert resident() - before > 0.9 * size
    held.release()
    assert resident() - before < 0.1 * size
    assert int(bytes_.sum()) == 7 * size
    assert set(file.read_bytes()[:: 1 << 16]) == {7}
    assert held.holds(bytes_[5:], file, 5)
    assert not held.holds(bytes_[5:], file, 4)
    assert not held.holds(torch.zeros(3), file, 0)


def test_without_a_copy_to_work_on_the_files_are_not_written(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(1 << 16))
    held = Memory()
    bytes_ = torch.empty(0, dtype=torch.uint8).set_(held.map(file), 0, (1 << 16,))
    bytes_.fill_(7)
    held.release()
    assert int(bytes_.sum()) == 7 << 16
    assert not any(file.read_bytes())


def test_activations_beyond_the_limit_wait_on_disk(tmp_path):
    size = 8 << 20
    held = Memory(activations=2 * size, scratch=tmp_path)
    made = [torch.full((size // 4,), float(i)) for i in range(4)]
    kept = [held.keep(each) for each in made]
    assert [one is other for one, other in zip(kept, made, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    before = resident()
    assert [float(tensor[-1]) for tensor in kept] == [0, 1, 2, 3]
    assert float(kept[3].sum()) == 3 * size / 4
    assert resident() - before > 0.9 * size
    held.rest(kept[3])
    assert resident() - before < 0.1 * size
    assert list(tmp_path.iterdir()) == []
    del kept[0], made
    gc.collect()
    again = torch.ones(size // 4)
    assert held.keep(again) is again


def test_a_full_disk_is_an_error_and_not_a_signal(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Memory(activations=0, scratch=tmp_path).keep(torch.ones(1 << 16))
    assert list(tmp_path.iterdir()) == []


def test_tensors_torch_has_no_dtype_for_are_refused_by_name(family_directory, tmp_path):
    copy_checkpoint(family_directory("llama"), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].replace(b'"norm.weight"', b'"norm.weight"')
    spoilt = header.replace(
        b'model.norm.weight":{"dtype":"F32"', b'model.norm.weight":{"dtype":"U32"'
    )
    assert spoilt != header
    file.write_bytes(raw[:8] + spoilt + raw[8 + length :])
    with pytest.raises(ModelLoadError, match=r"model\.norm\.weight is stored as U32"):
        load_model(tmp_path / "m")
