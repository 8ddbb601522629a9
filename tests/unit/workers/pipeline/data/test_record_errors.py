"""Where a model's own code fails, the message names the record; mistakes of ours stay mistakes."""

import json

import pytest
import torch
from PIL import Image

from app.errors import ModelRunError
from tests.families import BY_NAME
from tests.tiny_models import records
from workers.pipeline.data.record import record_errors
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.loading import load_model


@pytest.fixture
def sized_freely(tmp_path):
    """A CLIP whose processor lets pictures be as large as they come."""
    BY_NAME["clip"].build(tmp_path)
    file = tmp_path / "processor_config.json"
    found = json.loads(file.read_text())
    found["image_processor"] |= {"do_resize": False, "do_center_crop": False}
    file.write_text(json.dumps(found))
    return adapt(load_model(tmp_path))


def run(adapter, made, check=lambda: None, moved=0):
    """Forward every record, its token ids moved on."""
    with record_errors(adapter, made, 16, check), torch.no_grad():
        for batch in adapter.batches(made, batch_size=1, max_length=16):
            adapter.forward(batch | {"input_ids": batch["input_ids"] + moved})


def test_the_record_that_fails_is_named(sized_freely):
    made = [CalibrationRecord("a cat", Image.new("RGB", (side, side))) for side in (16, 16, 24)]
    checks = []
    with pytest.raises(ModelRunError, match=r"on record 3,.*24") as caught:
        run(sized_freely, made, lambda: checks.append(1))
    assert len(checks) == 3
    assert "0x" not in str(caught.value)


def test_a_failure_of_no_single_record_is_told_without_one(sized_freely):
    made = [CalibrationRecord("a cat", Image.new("RGB", (16, 16)))]
    with pytest.raises(ModelRunError, match="the model fails in its own code"):
        run(sized_freely, made, moved=1000)


def test_a_mistake_of_ours_is_not_the_models(sized_freely):
    def broken():
        raise IndexError("a mistake in this project")

    with pytest.raises(IndexError), record_errors(sized_freely, records("pair"), 16):
        broken()
