"""Uploaded sets as workers read them, and rows of the hub as records."""

import io
import json
import sys
import zipfile

import pytest
from PIL import Image

from app.storage.datasets import DatasetStore
from app.uploads.errors import (
    DatasetCorruptError,
    DatasetNotFoundError,
    DatasetsExtraError,
    DatasetSourceError,
)
from app.uploads.limits import UploadLimits
from tests.stored_datasets import store_upload
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.hub import to_record
from workers.pipeline.data.record import Record
from workers.pipeline.data.source import load_dataset

LIMITS = UploadLimits(bytes=1 << 20, unpacked_bytes=1 << 20, rows=50, image_pixels=10_000)


@pytest.fixture
def stored(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        rows = [{"image": f"{n}.png", "prompt": "which", "answer": str(n)} for n in range(3)]
        made.writestr("rows.jsonl", "\n".join(map(json.dumps, rows)))
        for n in range(3):
            image = io.BytesIO()
            Image.new("RGB", (8, 8), (80 * n, 0, 0)).save(image, "PNG")
            made.writestr(f"{n}.png", image.getvalue())
    (tmp_path / "file").write_bytes(out.getvalue())
    store = DatasetStore(tmp_path)
    return store.directory, store_upload(store, tmp_path / "file", LIMITS).id


def load(stored, samples=2, part=Purpose.EVALUATION):
    directory, name = stored
    return load_dataset(name, part, samples=samples, seed=0, uploads=directory)


def test_records_come_as_they_were_uploaded(stored):
    first, second = load(stored).records
    assert (first.prompt, first.answer, second.answer) == ("which", "0", "1")
    assert second.image.getpixel((0, 0)) == (80, 0, 0)
    assert first.calibration.text == "which 0"
    assert len(set(load(stored, samples=9).digests)) == 3
    assert len(load(stored, samples=9, part=Purpose.CALIBRATION).records) == 9


def test_a_set_that_changed_on_disk_is_refused(stored):
    directory, name = stored
    rows = directory / name.removeprefix("sha256:") / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"which", b"whose"))
    with pytest.raises(DatasetCorruptError):
        load(stored)


def test_an_absent_set_is_named(stored):
    with pytest.raises(DatasetNotFoundError, match="000"):
        load((stored[0], "sha256:" + "0" * 64))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # import then fails as if it were absent
    with pytest.raises(DatasetsExtraError, match=r"secateur\[datasets\]"):
        load_dataset("hf:a/b#train", Purpose.EVALUATION, samples=1, seed=0)


def test_columns_in_use_elsewhere_become_fields():
    image = Image.new("L", (4, 4))
    found = to_record({"image": image, "question": "q", "answer": "a", "id": 7})
    assert (found.prompt, found.answer, found.image.mode) == ("q", "a", "RGB")
    found = to_record({"sentence": "s", "label": 1}, ["bad", "good"])
    assert (found.text, found.label) == ("s", "good")
    assert to_record({"caption": "c", "question": "q"}).prompt is None


def test_null_rows_of_known_columns_are_blank_and_not_of_unknown_columns():
    assert to_record({"text": None}).blank
    assert to_record({"text": " \n"}).blank
    assert to_record({"question": "q", "answer": ""}).blank
    assert not to_record({"image": Image.new("L", (4, 4)), "text": None}).blank


@pytest.mark.parametrize("label", [-1, 2, 7, 1.5, ["a"]])
def test_a_label_that_is_no_class_is_named_by_its_row(label):
    with pytest.raises(DatasetSourceError, match="row 9: column 'label'"):
        to_record({"text": "a", "label": label}, ["bad", "good"], 9)


def test_a_picture_too_large_to_decode_is_named_before_it_is(monkeypatch):
    monkeypatch.setattr("workers.pipeline.data.hub.MAX_PIXELS", 15)
    with pytest.raises(DatasetSourceError, match="row 3: column 'image': a picture of 4 x 4"):
        to_record({"image": Image.new("L", (4, 4))}, None, 3)


def test_blank_rows_are_skipped_counted_and_told(monkeypatch):
    rows = [Record(text=text) for text in ("a", " ", "b", "", "c", "d")]
    monkeypatch.setattr("workers.pipeline.data.source.hub_records", lambda _: iter(rows))
    found = load_dataset("hf:a/b#train", Purpose.EVALUATION, samples=3, seed=0)
    assert [record.text for record in found.records] == ["a", "b", "c"]
    assert [record.number for record in found.records] == [1, 3, 5]
    assert found.provenance["blank_rows"] == 2
    rows = [Record(text=" ")]
    with pytest.raises(DatasetSourceError, match="its rows are blank"):
        load_dataset("hf:a/b#train", Purpose.CALIBRATION, samples=3, seed=0)


@pytest.mark.parametrize("row", [{"tokens": "a"}, {"text": 3}, {"image": "a.png"}])
def test_rows_of_other_kinds_are_refused(row):
    with pytest.raises(DatasetSourceError):
        to_record(row)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(DatasetSourceError, match="classes are 0 to 1"):
        to_record({"text": "a cat", "label": label}, ["cat", "dog"])


def test_labels_are_classes_by_number_or_by_name():
    assert to_record({"text": "a cat", "label": 1}, ["cat", "dog"]).label == "dog"
    assert to_record({"text": "a cat", "label": "dog"}, ["cat", "dog"]).label == "dog"
    assert to_record({"text": "a cat", "label": -1}).label == "-1"
