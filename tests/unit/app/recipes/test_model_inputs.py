"""What a model takes by its configuration, the set that feeds it, and sets that cannot."""

import pytest

from app.domain.submission import JobRequest, resolve
from app.errors import CalibrationDataError, RecipeError
from app.recipes.data import (
    FIELDS,
    Builtin,
    EvaluationDataError,
    Inputs,
    check_calibration,
    check_evaluation,
    check_modalities,
    default_set,
    inputs_of,
)
from app.recipes.modality import Modality
from workers.pipeline.data.builtin import Purpose, builtin_records

TEXTS, IMAGES, PAIRS = Inputs(True, False), Inputs(False, True), Inputs(True, True)
LLAMA = {"architectures": ["LlamaForCausalLM"], "vocab_size": 9, "id2label": {"vision": 0}}
LLAVA = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}, "text_config": {}}
VIT = {"architectures": ["ViTForImageClassification"], "image_size": 224, "patch_size": 16}
SIGLIP = LLAVA | {"architectures": ["SiglipForImageClassification"]}
WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"],
    "num_mel_bins": 80,
    "vocab_size": 9,
}


@pytest.mark.parametrize(
    ("config", "takes", "default"),
    [
        (LLAMA, TEXTS, Builtin.SENTENCES),
        (LLAVA, PAIRS, Builtin.SCENE_CAPTIONS),
        (VIT, IMAGES, Builtin.SCENE_IMAGES),
        (SIGLIP, IMAGES, Builtin.SCENE_IMAGES),
        ({"architectures": ["CLIPTextModel"], "vision_config": {}, "vocab_size": 9}, TEXTS, None),
        (WHISPER, None, Builtin.SENTENCES),
        ({}, None, Builtin.SENTENCES),
        ({"architectures": 3, "text_config": None}, TEXTS, Builtin.SENTENCES),
    ],
)
def test_what_a_configuration_takes(config, takes, default):
    assert inputs_of(config) == takes
    if default is not None:
        assert default_set(takes, prompts=False) is default


@pytest.mark.parametrize("name", Builtin)
def test_the_fields_of_a_built_in_set_are_those_of_its_records(name):
    record = next(builtin_records(name, Purpose.CALIBRATION, 0))
    fields = ("text", "image", "prompt", "answer", "label")
    assert {field for field in fields if getattr(record, field) is not None} == FIELDS[name]


@pytest.mark.parametrize("takes", [TEXTS, IMAGES, PAIRS])
def test_the_default_always_fits(takes):
    name = default_set(takes, prompts=False)
    check_calibration(takes, "m", name, FIELDS[name])
    check_evaluation(takes, "m", name, FIELDS[name])


@pytest.mark.parametrize(
    ("takes", "fields", "words"),
    [
        (PAIRS, {"text"}, "texts alone, and m takes images with texts; .* scene-captions"),
        (PAIRS, {"image", "label"}, "images alone"),
        (TEXTS, {"text", "image"}, "images with texts, and m takes texts alone; .* sentences"),
        (IMAGES, {"text", "image"}, "takes images alone; .* scene-images"),
        (TEXTS, {"label"}, "neither texts nor images"),
    ],
)
def test_a_set_that_cannot_feed_the_model_is_refused_with_what_would(takes, fields, words):
    with pytest.raises(CalibrationDataError, match=words):
        check_calibration(takes, "m", "mine", fields)


def test_labels_of_images_stand_for_texts_in_an_evaluation():
    check_evaluation(PAIRS, "m", "mine", {"image", "label"})
    with pytest.raises(EvaluationDataError, match="evaluation set mine holds texts alone"):
        check_evaluation(PAIRS, "m", "mine", {"text", "label"})


@pytest.mark.parametrize(
    ("takes", "asked"),
    [(TEXTS, Modality.VISION), (TEXTS, Modality.BRIDGE), (IMAGES, Modality.LANGUAGE)],
)
def test_a_sparsity_for_a_part_the_model_lacks_is_refused(takes, asked):
    with pytest.raises(RecipeError, match=f"given for {asked}, and m"):
        check_modalities(takes, "m", [asked])
    check_modalities(PAIRS, "m", list(Modality))


def test_a_request_without_a_set_is_stored_with_the_one_that_fits():
    request = JobRequest(model="m", method="wanda", sparsity=0.5)
    assert resolve(request, LLAVA).calibration.set == "scene-captions"
    assert resolve(request, LLAMA).calibration.set == "sentences"
    assert resolve(request).calibration.set is None
    named = JobRequest(model="m", method="wanda", sparsity=0.5, calibration={"set": "shapes"})
    assert resolve(named, LLAMA).calibration.set == "shapes"
    assert resolve(JobRequest(model="m", method="par"), LLAVA).calibration.set == "scenes"
