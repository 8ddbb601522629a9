"""Records become what the service takes."""

import json

from PIL import Image

from app.settings import Settings
from app.uploads.ingest import ingest
from secateur_client import records


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
