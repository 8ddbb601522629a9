"""Families that walk, read or learn in a way of their own, held to plain computations."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.recipes.modality import Modality
from app.recipes.recipe import build_recipe
from benchmarks.families.inputs import batches_for
from benchmarks.families.record import CHECKS
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import Marks, build
from benchmarks.families.trial import attempt
from workers.pruning.engine.prune import prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def loaded(name: str, place: Path) -> tuple[Adapter, list[dict[str, Tensor]]]:
    model = build(name, CHANGES.get(name, {}), Marks())
    batches = batches_for(model, INPUTS.get(name, {}))
    model.save_pretrained(place)
    return adapt(load_model(place)), batches


@pytest.mark.parametrize(
    "name",
    [
        "Gemma3nForCausalLM",  # later layers read the keys and values of earlier ones
        "PI0ForConditionalGeneration",  # one stack reads the other's cache
        "Qwen4ExpForConditionalGeneration",  # a cache holds positions before the first block
        "PvtV2ForImageClassification",  # blocks return sizes beside hidden states
        "HrmTextForCausalLM",  # two stacks take turns, each reads what the other has made
        "MllamaForCausalLM",  # more words than its configuration says
        "Emu3ForConditionalGeneration",  # lists of holders whose parts are called
        "Swinv2ForImageClassification",  # matrices of two columns
        "ColPaliForRetrieval",
        "GroundingDinoForObjectDetection",  # its blocks read what is made of states
    ],
)
def test_a_family_passes(name: str, tmp_path: Path) -> None:
    found = attempt(name, tmp_path)
    assert found["built"] == "ok"
    assert found["checks"] == dict.fromkeys(CHECKS, "ok")


def test_decoders_that_share_weights_are_walked_too(tmp_path: Path) -> None:
    """DiffusionGemma: the decoder has no weight of its own and reads the prompt's cache."""
    found = attempt("DiffusionGemmaForBlockDiffusion", tmp_path)
    assert "model.decoder.layers" in found["towers"]
    assert found["checks"] == dict.fromkeys(CHECKS, "ok")


TOWERS = {
    "OwlViTForObjectDetection": {"vision_model": "vision", "text_model": "text"},
    "FlavaModel": {"image_model": "vision", "text_model": "text", "multimodal_model": "fusion"},
    "LxmertForQuestionAnswering": {"encoder.layer": "text", "r_layers": "vision"},
    "VisualBertModel": {"encoder.layer": "fusion"},
    "XCLIPModel": {"mit": "vision", "text_model": "text"},
    "WhisperForConditionalGeneration": {"encoder.layers": "audio", "decoder.layers": "language"},
    "GroundingDinoForObjectDetection": {"text_backbone": "text", "model.encoder": "fusion"},
    "Pix2StructForConditionalGeneration": {"encoder.encoder": "vision", "decoder": "language"},
}


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_serves_what_it_reads(name: str, tmp_path: Path) -> None:
    adapter, _ = loaded(name, tmp_path)
    for part, modality in TOWERS[name].items():
        told = {str(tower.modality) for tower in adapter.towers if part in tower.name}
        assert told == {modality}, part


@pytest.mark.parametrize("name", ["ViTModel", "ViltModel", "FlavaModel"])
def test_features_under_noise_are_a_loss(name: str, tmp_path: Path) -> None:
    adapter, batches = loaded(name, tmp_path)
    loss = adapter.loss(batches[0])
    assert 0 < loss.item() < 1  # near the features without noise, and not at them
    assert adapter.loss(batches[0]).item() == loss.item()


def test_late_interaction_is_computed_as_written(tmp_path: Path) -> None:
    adapter, batches = loaded("ColPaliForRetrieval", tmp_path)
    batch = batches[0]
    mark = adapter.model.config.vlm_config.image_token_id
    with torch.no_grad():
        pages = adapter.model(**batch).embeddings
        words = batch["input_ids"] != mark
        text = {"input_ids": batch["input_ids"], "attention_mask": words.long()}
        queries = adapter.model(**text).embeddings
        scores = torch.zeros(2, 2)
        for query in range(2):
            for page in range(2):
                near = queries[query][words[query]] @ pages[page].T
                scores[query, page] = near.max(1).values.sum()
        expected = -scores.log_softmax(1).diagonal().mean()
        assert adapter.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_a_model_draws_is_the_same_every_time(tmp_path: Path) -> None:
    """ViT-MAE hides patches at random."""
    adapter, batches = loaded("ViTMAEModel", tmp_path)
    batch = {"pixel_values": batches[0]["pixel_values"]}
    before = torch.random.get_rng_state()
    with torch.no_grad():
        one, two = (adapter.call(batch).last_hidden_state for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_tower_that_nothing_feeds_stays_dense_unless_asked(tmp_path: Path) -> None:
    adapter, batches = loaded("Qwen2_5OmniThinkerForConditionalGeneration", tmp_path)
    heard = [t for t in adapter.towers if t.modality is Modality.AUDIO]
    assert heard
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5)
    report = prune(adapter, recipe, batches)
    assert not any(m.modality is Modality.AUDIO for m in report.matrices)
    assert report.difference == 0
    (told,) = [text for text in report.warnings if "no calibration input reaches it" in text]
    assert told.startswith(heard[0].name)

    adapter, batches = loaded("Qwen2_5OmniThinkerForConditionalGeneration", tmp_path)
    recipe = build_recipe("wanda", {}, "unstructured", sparsity={"audio": 0.5})
    report = prune(adapter, recipe, batches)
    assert {m.modality for m in report.matrices} == {Modality.AUDIO}
    recipe = build_recipe("magnitude", {}, "unstructured", sparsity=0.5)
    assert any(m.modality is Modality.AUDIO for m in prune(adapter, recipe).matrices)
