"""Processors of the default install feed models whose other parts want torchvision."""

import pytest

from benchmarks.families.processors import attempt

pytestmark = pytest.mark.filterwarnings("ignore")  # of foreign processors


@pytest.mark.parametrize(
    "kind",
    [
        "cosmos3_edge",  # marks its image tokens where it is asked to
        "gemma4",  # without its processors of videos and sounds
        "kosmos-2.5",  # its pixels are flattened patches
        "minicpmv4_6",  # reads the settings of its video processor
        "mistral3",  # tied to torchvision by one import, which Pillow's form has too
        "ovis2",  # counts places on tensors
        "video_llava",  # the positions of its video tower bound no text
    ],
)
def test_a_record_of_image_and_text_feeds_it(tmp_path, kind):
    assert attempt(kind, tmp_path)["told"] == "ok"


def test_what_cannot_be_fed_says_why(tmp_path):
    found = attempt("llama4", tmp_path)
    assert found["needs"] == "torchvision"
    assert "requires the Torchvision library" in found["told"]
