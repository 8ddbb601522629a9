"""Records become what the service takes."""

import json

import pytest
from PIL import Image

from app.settings import Settings
from app.uploads.ingest import ingest
from secateur_client import SecateurError, records


def stored(content, tmp_path):
    (tmp_path / "upload").write_bytes(content)
    (tmp_path / "set").mkdir()
    return ingest(tmp_path / "upload", tmp_path / "set", Settings().datasets.limits)


def test_texts_are_json_lines(tmp_path):
    packed = records.pack([{"text": "ein Käfer"}, {"text": "two"}])
    assert records.media_type(packed) == records.JSONL
    assert json.loads(packed.splitlines()[0]) == {"text": "ein Käfer"}
    assert stored(packed, tmp_path).rows == 2


def test_images_come_along_once(tmp_path):
    picture = Image.new("RGB", (8, 8), "red")
    picture.save(tmp_path / "red.png")
    rows = [{"image": picture, "text": "a"}, {"image": tmp_path / "red.png", "text": "b"}]
    packed = records.pack(rows)
    assert records.media_type(packed) == records.ZIP
    found = stored(packed, tmp_path)
    assert (found.rows, found.images) == (2, 1)


@pytest.mark.parametrize(
    ("rows", "code", "says"),
    [
        ({"text": "a"}, "dataset_row_invalid", "row 1 is a str"),
        ([{"text": "a"}, ["b"]], "dataset_row_invalid", "row 2 is a list"),
        ([{"image": "nowhere.png", "text": "a"}], "dataset_image_missing", r"nowhere\.png"),
    ],
)
def test_what_is_no_record_is_told_with_its_row(rows, code, says):
    with pytest.raises(SecateurError, match=says) as refused:
        records.pack(rows)
    assert refused.value.code == code


def test_a_missing_file_is_not_taken_for_a_name():
    records.refuse_missing_file("scene-captions")
    records.refuse_missing_file("hf:org/captions.jsonl")
    with pytest.raises(SecateurError, match=r"no file 'captions\.zip'") as refused:
        records.refuse_missing_file("captions.zip")
    assert refused.value.code == "file_missing"
