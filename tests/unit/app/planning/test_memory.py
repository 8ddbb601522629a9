"""What a job holds of a model's weights; how near the peak comes is a bench's matter."""

import inspect
from dataclasses import replace

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from app.domain.submission import JobRequest, resolve
from app.planning.memory import LOGITS_OF_IMAGES, ModelLayout, estimate_memory
from app.planning.model_files.headers import StoredTensor
from app.recipes.modality import Modality

WIDTH, INNER, BLOCKS = 512, 1408, 8
BLOCK = {"up_proj": (INNER, WIDTH), "down_proj": (WIDTH, INNER)}
FULL = ModelLayout.of(
    {
        f"model.layers.{block}.mlp.{name}.weight": StoredTensor(shape)
        for block in range(BLOCKS)
        for name, shape in BLOCK.items()
    },
    {"model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": BLOCKS},
)
HALF = replace(FULL, width=2, stored=FULL.stored // 2)
LARGEST = 2 * WIDTH * INNER
SPECS = {
    "wanda": JobRequest(model="m", method="wanda", sparsity=0.5, calibration={"samples": 8}),
    "par": JobRequest(
        model="m",
        method="par",
        calibration={"set": "scenes", "samples": 8},
    ),
}


@pytest.mark.parametrize(
    ("method", "layout", "gpu", "held"),
    [
        ("wanda", FULL, False, 4 * LARGEST),  # one block, from its file
        ("wanda", HALF, False, (2 + 4) * LARGEST),  # and once more in float32
        ("wanda", HALF, True, 2 * 2 * LARGEST),  # and the next one
        ("par", FULL, False, 4 * BLOCKS * LARGEST),  # it runs often
        ("par", HALF, False, (2 + 4 * BLOCKS) * LARGEST),
        ("par", HALF, True, 2 * BLOCKS * LARGEST),
    ],
)
def test_a_model_that_runs_often_is_held_whole_and_others_block_by_block(method, layout, gpu, held):
    assert estimate_memory(layout, resolve(SPECS[method]), gpu=gpu).weights == held


def test_pictures_that_a_router_is_trained_on_are_held_for_each_of_two_questions():
    def training(layout, held_out):
        request = SPECS["par"].model_copy(update={"parameters": {"held_out": held_out}})
        return estimate_memory(layout, resolve(request), gpu=False).stages["training"]

    seen = replace(FULL, pixels=1_000_000)
    for held_out, pictures in ((0.25, 8 + 6), (0.5, 8 + 4)):
        held = training(seen, held_out) - training(FULL, held_out)
        assert held == pictures * 4 * 1_000_000


SEES = {"vision_config": {"hidden_size": 64, "image_size": 336, "patch_size": 14}}
# Images are read by cross-attention, or no next token is predicted.
NO_IMAGES_BEFORE_TEXT = {
    "blip",
    "diffusion_gemma",
    "pi0",
    "pix2struct",
    "udop",
    "vision-encoder-decoder",
}


@pytest.mark.parametrize(("model_type", "predicted"), [("llava", 64), ("instructblip", 64 + 576)])
def test_logits_are_made_of_text(model_type, predicted):
    text = {"vocab_size": 32_000, "max_position_embeddings": 4096}
    layout = ModelLayout.of({}, SEES | {"model_type": model_type, "text_config": text})
    assert layout.tokens(Modality.LANGUAGE, 64) == 64 + 576
    assert layout.predicted(64) == predicted


def test_classes_that_make_logits_of_images_are_known():
    found = set()
    for model_type, name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items():
        forward = inspect.unwrap(getattr(transformers, name).forward)
        asked = {"logits_to_keep"} - inspect.signature(forward).parameters.keys()
        if asked or "loss_function" not in forward.__code__.co_names:
            found.add(model_type)
    assert found - NO_IMAGES_BEFORE_TEXT <= LOGITS_OF_IMAGES
