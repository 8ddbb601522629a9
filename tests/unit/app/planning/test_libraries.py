"""Models whose processors need a library that is not always there."""

import pytest
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from app.planning.machines import (
    TORCHVISION,
    LibraryMissingError,
    Machine,
    Requirements,
    libraries_of,
    place,
)

PLAIN = Machine("plain", 1 << 34, 2, "cpu", 0, None, 20.0, 1e8)
SEEING = Machine("seeing", 1 << 35, 2, "cpu", 0, None, 20.0, 1e8, ("torchvision",))
LLAMA4 = {"model_type": "llama4", "vision_config": {"model_type": "llama4_vision_model"}}
GEMMA3N = {"model_type": "gemma3n", "vision_config": {"model_type": "timm_wrapper"}}


def test_the_types_are_those_of_transformers():
    known = {kind for kind, forms in IMAGE_PROCESSOR_MAPPING_NAMES.items() if "pil" not in forms}
    assert known == TORCHVISION


@pytest.mark.parametrize(
    ("config", "reads", "needed"),
    [
        (LLAMA4, True, {"torchvision"}),
        (LLAMA4, False, set()),
        (GEMMA3N, False, {"timm"}),
        ({"model_type": "llava", "vision_config": {}}, True, set()),
        ({"model_type": ["llama4"], "vision_config": {"model_type": {}}}, True, set()),
    ],
)
def test_what_a_model_needs(config, reads, needed):
    assert libraries_of(config, reads_data=reads) == needed


def test_a_job_goes_where_the_library_is():
    wanted = Requirements("auto", None, 1, 1, frozenset({"torchvision"}), "llama4")
    assert place([PLAIN, SEEING], wanted) == SEEING
    assert place([PLAIN, SEEING], Requirements("auto", None, 1, 1)) == PLAIN
    with pytest.raises(LibraryMissingError, match=r"'llama4' need torchvision .*extra `vision`"):
        place([PLAIN], wanted)
    assert place([], wanted) is None  # nothing is known yet
