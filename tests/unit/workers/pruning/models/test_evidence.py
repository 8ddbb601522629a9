"""Parts that are called something else than what they depend on are told of."""

import re

import pytest
import torch

from app.recipes.modality import Modality
from app.recipes.recipe import build_recipe
from benchmarks.families.inputs import batches_for
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import Marks, build
from workers.pruning.engine.prune import prune
from workers.pruning.models import evidence
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.generic import GenericAdapter
from workers.pruning.models.loading import load_model

VISION, LANGUAGE = "model.vision_tower.encoder.layers", "model.language_model.layers"
WHISPER = "WhisperForConditionalGeneration"


def made(name, directory):
    model = build(name, CHANGES.get(name, {}), Marks())
    model.save_pretrained(directory)
    return load_model(directory), batches_for(model, INPUTS.get(name, {}))


@pytest.fixture(scope="module")
def aya(tmp_path_factory):
    return made("AyaVisionForConditionalGeneration", tmp_path_factory.mktemp("aya"))


def told(loaded, batches):
    with torch.no_grad():
        return list(evidence.disagreements(adapt(loaded), batches[0]))


def test_parts_that_are_what_they_are_called(aya, tmp_path):
    assert told(*aya) == []
    for name in (WHISPER, "Inkling2ForConditionalGeneration"):  # sounds; tensors without numbers
        assert told(*made(name, tmp_path / name)) == []


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ({VISION: Modality.TEXT}, f"{VISION} is taken for text .*depends on images alone"),
        ({LANGUAGE: Modality.VISION}, f"{LANGUAGE} is taken for vision .*on images and words;"),
    ],
)
def test_parts_that_are_not_stand_in_the_report(aya, monkeypatch, called, words):
    own = GenericAdapter._modality
    monkeypatch.setattr(
        GenericAdapter, "_modality", lambda self, path, _: called.get(path) or own(self, path, _)
    )
    loaded, batches = aya
    [sentence] = told(loaded, batches)
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5)
    assert sentence in prune(adapt(loaded), recipe, batches).warnings
    assert re.match(words, sentence)


def test_large_models_are_not_asked(aya, monkeypatch):
    loaded, batches = aya
    monkeypatch.setattr(evidence, "MOST", 1000)
    monkeypatch.setattr(evidence, "_seen", lambda *_: pytest.fail("it ran"))
    assert told(loaded, batches) == []
