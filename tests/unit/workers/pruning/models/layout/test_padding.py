"""Padding is in no statistic where text and image share a stream and no adapter knows the model."""

import pytest
import torch
import transformers as tf

from app.recipes.recipe import Recipe
from tests.tiny_models import VOCABULARY, save, tokenizer
from workers.pruning.calibration.statistics import Calibration, SquareSum
from workers.pruning.calibration.walk import steps
from workers.pruning.engine.targets import find_targets
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.padding import guessed_mask
from workers.pruning.models.loading import load_model

ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
PATCHES = {"image_size": 32, "patch_size": 8}
LENGTHS = [4, 9, 6]


def vilt():
    config = tf.ViltConfig(vocab_size=VOCABULARY, max_image_length=-1, **PATCHES, **ENCODER)
    return tf.ViltModel, config


def flava():
    config = tf.FlavaConfig(
        text_config={"vocab_size": VOCABULARY, **ENCODER},
        image_config={**PATCHES, **ENCODER},
        multimodal_config=ENCODER,
        image_codebook_config={},
        hidden_size=16,
        projection_dim=16,
    )
    return tf.FlavaModel, config


def gemma3n():
    """Its last blocks read keys and values that earlier ones have put into a store."""
    layers = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    config = tf.Gemma3nTextConfig(
        vocab_size=VOCABULARY,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size=16,
        hidden_size_per_layer_input=4,
        intermediate_size=24,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_kv_shared_layers=3,
        laurel_rank=4,
        altup_num_inputs=2,
        activation_sparsity_pattern=[0.0] * 6,
        layer_types=layers,
        sliding_window=8,
        pad_token_id=0,
    )
    return tf.Gemma3nForCausalLM, config


def sums(directory, batches):
    adapter = adapt(load_model(directory))
    targets = find_targets(adapter.towers, Recipe(sparsity=0.5))
    calibration, found = Calibration(SquareSum), {}
    adapter.model.eval()
    with torch.no_grad():
        for step in steps(adapter, batches, last=targets.last):
            step.collect(calibration, targets.blocks)
            for matrix in targets.due.get(step.block, ()):
                found[matrix.name] = calibration.of(matrix).total
    return found


def inputs(*, images):
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[:length] = 1
    batch = {
        "input_ids": torch.randint(5, 60, mask.shape, generator=generator) * mask,
        "attention_mask": mask,
    }
    if images:
        batch["pixel_values"] = torch.randn(len(LENGTHS), 3, 32, 32, generator=generator)
    return batch


def alone(batch):
    """Each record by itself, without padding."""
    for number, length in enumerate(LENGTHS):
        one = {key: value[number : number + 1] for key, value in batch.items()}
        yield one | {key: one[key][:, :length] for key in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(("build", "images"), [(vilt, True), (flava, True), (gemma3n, False)])
def test_a_padded_batch_gives_the_sums_of_its_records(build, images, tmp_path):
    model, config = build()
    save(tmp_path / "model", model, config, tokenizer())
    batch = inputs(images=images)
    if build is vilt:
        batch["pixel_mask"] = torch.ones(len(LENGTHS), 32, 32, dtype=torch.long)
    torch.manual_seed(0)
    expected = sums(tmp_path / "model", list(alone(batch)))
    found = sums(tmp_path / "model", [batch])
    assert found.keys() == expected.keys()
    for name, total in found.items():
        torch.testing.assert_close(total, expected[name], rtol=1e-3, atol=1e-9)


REAL = torch.tensor([[True, True, False]])


@pytest.mark.parametrize(
    "mask",
    [
        REAL,
        REAL.long(),
        REAL[:, None, None, :],
        torch.where(REAL, 0.0, -10000.0)[:, None, None, :].expand(1, 2, 3, 3),
        torch.where(REAL & torch.ones(3, 3).tril().bool(), 0.0, -torch.inf)[None],
    ],
    ids=["bool", "int", "keys", "additive", "causal"],
)
def test_masks_of_every_form_are_read(mask):
    mask = mask[None] if mask.ndim == 3 else mask
    assert guessed_mask(torch.zeros(1, 3, 4), {}, [None], [torch.zeros(1, 3, 4), mask]).equal(REAL)
    assert guessed_mask(torch.zeros(3, 4), {}, [None], [mask]).equal(REAL[0])
    assert guessed_mask(torch.zeros(1, 5, 4), {}, [None], [mask]) is None


@pytest.mark.parametrize(
    ("given", "real"),
    [
        (torch.tensor([[False, False, True], [False, False, False]]), [[1, 1, 0], [1, 1, 1]]),
        (torch.tensor([[True, True, False], [True, True, True]]), [[1, 1, 0], [1, 1, 1]]),
        (torch.tensor([[1, 1, 0], [1, 1, 1]]), [[1, 1, 0], [1, 1, 1]]),
        (torch.zeros(2, 3, dtype=torch.bool), None),  # nothing to leave out
        (torch.zeros(2, 3, dtype=torch.long), None),  # segments
        (torch.arange(3).expand(2, 3), None),  # positions
        (torch.tensor([[7, 0, 0], [9, 8, 0]]), None),  # ids
    ],
)
def test_what_a_tensor_of_tokens_says(given, real):
    found = guessed_mask(torch.zeros(2, 3, 8), {}, [None], [given])
    assert (None if found is None else found.int().tolist()) == real
