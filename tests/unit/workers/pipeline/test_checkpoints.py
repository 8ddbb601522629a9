"""Entries come back bit for bit or not at all; what does not belong is discarded in words."""

import pytest
import torch

from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.resume import Entry

KEY = {"recipe": {"sparsity": 0.5}, "model": "abc", "versions": {"torch": "2"}}
ENTRY = Entry({"asked": 3}, {"mask": torch.arange(7, dtype=torch.uint8), "w": torch.randn(2, 3)})


@pytest.fixture
def told():
    return []


@pytest.fixture
def open_(tmp_path, told):
    def again(key=KEY, limit=1 << 20, **more):
        return DiskCheckpoints(tmp_path / "job_1", key, limit=limit, warn=told.append, **more)

    return again


def same(one, other):
    assert one.values == other.values
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[key]) for key, value in one.tensors.items())


def test_the_next_attempt_finds_what_was_put(open_, told):
    counted = []
    first = open_(on_kept=lambda: counted.append(1))
    first.put("pruned/model.layers.0", ENTRY)
    first.put("pruned/model.layers.01", Entry({"other": None}))
    first.put("pruned/model.layers.0", Entry({"asked": 4}, ENTRY.tensors))
    second = open_()
    same(second.get("pruned/model.layers.0"), Entry({"asked": 4}, ENTRY.tensors))
    same(second.get("pruned/model.layers.01"), Entry({"other": None}))
    assert second.get("pruned/model.layers") is None
    second.drop("pruned/model.layers.0")
    assert open_().get("pruned/model.layers.0") is None
    assert (told, len(counted)) == ([], 3)


def test_nothing_is_made_before_the_first_entry(open_, tmp_path):
    assert open_().get("anything") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"), [("model", "def"), ("recipe", {"sparsity": 0.6}), ("versions", {})]
)
def test_what_belongs_to_something_else_is_discarded_in_words(open_, told, name, value):
    open_().put("a", ENTRY)
    other = open_(KEY | {name: value})
    assert other.get("a") is None
    assert told == [f"what an earlier attempt finished is discarded: it belongs to another {name}"]
    other.put("a", ENTRY)
    same(open_(KEY | {name: value}).get("a"), ENTRY)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_made_anew(open_, told, tmp_path, damage):
    open_().put("a", ENTRY)
    (file,) = (tmp_path / "job_1").glob("*.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes({"flip": raw, "cut": raw[:-1], "empty": b""}[damage])
    checkpoints = open_()
    assert checkpoints.get("a") is None
    assert "damaged" in told[0]
    checkpoints.put("a", ENTRY)
    same(checkpoints.get("a"), ENTRY)


def test_a_key_that_was_lost_discards_everything(open_, told, tmp_path):
    open_().put("a", ENTRY)
    (tmp_path / "job_1" / "key.json").unlink()
    assert open_().get("a") is None
    assert "does not say" in told[0]


def test_what_a_killed_attempt_was_writing_is_removed(open_, tmp_path):
    open_().put("a", ENTRY)
    (tmp_path / "job_1" / "new-xyz").write_bytes(b"half")
    same(open_().get("a"), ENTRY)
    assert not (tmp_path / "job_1" / "new-xyz").exists()


def test_beyond_the_limit_nothing_is_kept_and_one_sentence_says_so(open_, told, tmp_path):
    checkpoints = open_(limit=1000)
    big = Entry({}, {"w": torch.zeros(900, dtype=torch.uint8)})
    checkpoints.put("a", big)
    checkpoints.put("b", big)
    checkpoints.put("c", big)
    assert checkpoints.get("b") is None
    same(checkpoints.get("a"), big)
    assert len(told) == 1


def test_a_disk_that_refuses_does_not_end_the_run(told, tmp_path):
    (tmp_path / "file").write_text("")
    checkpoints = DiskCheckpoints(tmp_path / "file" / "job", KEY, limit=1000, warn=told.append)
    checkpoints.put("a", Entry({"x": 1}))
    assert checkpoints.get("a") is None
    assert "no longer kept" in told[0]
