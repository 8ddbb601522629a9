"""What a checkpoint prefers beside its architecture changes nothing that we compute."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.families import BY_NAME, records
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.files import without_preferences
from workers.pruning.models.loading import load_model
from workers.pruning.models.prompts import generate, prompt_batches

FLASH = "flash_attention_2"
OUTPUTS = {
    "outputs": {"return_dict": False, "output_attentions": True, "output_hidden_states": True},
    "attention": {"_attn_implementation": FLASH, "attn_implementation": FLASH},
    "chunks": {"chunk_size_feed_forward": 3},
    "training": {"gradient_checkpointing": True, "use_cache": False, "torchscript": True},
    "dtype": {"torch_dtype": "torch.float16", "dtype": "torch.bfloat16"},
    "problem": {"problem_type": "single_label_classification"},
    "router": {"output_router_logits": True},
    "length": {"max_length": 3, "min_length": 30, "num_beams": 4, "do_sample": True},
}
GENERATION = {
    "sampling": {"do_sample": True, "temperature": 0.1, "top_k": 3, "top_p": 0.5},
    "beams": {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 3.0},
    "lengths": {"max_length": 3, "min_length": 30, "min_new_tokens": 3, "max_time": 1e-4},
    "penalties": {"repetition_penalty": 9.0, "no_repeat_ngram_size": 1, "guidance_scale": 3.0},
    "forced": {"forced_bos_token_id": 9, "forced_eos_token_id": 8, "suppress_tokens": [7, 9, 11]},
    "outputs": {"return_dict_in_generate": True, "output_scores": True},
    "caches": {"cache_implementation": "static", "use_cache": False},
    "stops": {"stop_strings": ["a"], "bad_words_ids": [[5], [11]]},
    "tricks": {"prompt_lookup_num_tokens": 3, "watermarking_config": {"bias": 9.0}},
    "code": {"custom_generate": "somebody/elses"},
}


@pytest.fixture
def with_preferences(family_directory, tmp_path):
    """A family's checkpoint whose configuration, all parts of it, and generation say more."""

    def build(name, config=(), generation=()):
        directory = tmp_path / name
        shutil.copytree(family_directory(name), directory)
        _change(directory / "config.json", dict(config))
        if generation:
            _change(directory / "generation_config.json", dict(generation))
        return directory

    return build


def _change(file: Path, more):
    found = json.loads(file.read_text()) if file.exists() else {}
    for key, part in found.items():
        if key.endswith("_config") and isinstance(part, dict):
            found[key] = part | more
    file.write_text(json.dumps(found | more))


def computed(directory, name):
    """Outputs, loss and answers of the model."""
    adapter = adapt(load_model(directory))
    made = records(BY_NAME[name].kind)
    batch = next(adapter.batches(made, batch_size=5, max_length=16))
    with torch.no_grad():
        output = adapter.forward(batch)
        tensor = next(value for value in output.values() if isinstance(value, torch.Tensor))
        loss = float(adapter.loss(batch))
        answers = []
        if adapter.model.can_generate():
            prompts = prompt_batches(adapter, made, batch_size=5, max_length=16)
            answers = [generate(adapter, each, 4).tolist() for each in prompts]
    return tensor, loss, answers


def assert_same(one, two):
    assert torch.equal(one[0], two[0])
    assert one[1:] == two[1:]


@pytest.mark.parametrize("name", ["llama", "llava", "clip", "bert", "t5", "blip_caption", "vit"])
def test_no_saved_preference_of_the_configuration_counts(name, with_preferences, family_directory):
    everything = {key: value for group in OUTPUTS.values() for key, value in group.items()}
    assert_same(
        computed(with_preferences(name, everything), name), computed(family_directory(name), name)
    )


@pytest.mark.parametrize("group", OUTPUTS)
def test_each_preference_alone_counts_for_nothing(group, with_preferences, family_directory):
    one = computed(with_preferences("llava", OUTPUTS[group]), "llava")
    assert_same(one, computed(family_directory("llava"), "llava"))


@pytest.mark.parametrize("group", GENERATION)
def test_answers_are_greedy_whatever_was_saved(group, with_preferences, family_directory):
    one = computed(with_preferences("llama", generation=GENERATION[group]), "llama")
    assert_same(one, computed(family_directory("llama"), "llama"))


def test_the_end_tokens_of_the_checkpoint_count(with_preferences, family_directory):
    answer = computed(family_directory("llama"), "llama")[2][0][0]
    ended = with_preferences("llama", generation={"eos_token_id": [2, answer[1]]})
    assert computed(ended, "llama")[2][0][0][:2] == answer[:2]
    assert answer[2] not in computed(ended, "llama")[2][0][0][2:]


def test_the_files_that_leave_are_the_users_own(with_preferences, tmp_path):
    source = with_preferences("llama", OUTPUTS["outputs"], GENERATION["beams"])
    load_model(source)
    copy_checkpoint(source, tmp_path / "out")
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_no_answer_holds_the_place_of_an_image(family_directory):
    model = load_model(family_directory("llava")).model
    assert model.generation_config.suppress_tokens == [model.config.image_token_id]


def test_names_of_classes_are_no_preferences():
    config = {"id2label": {"dtype": "a"}, "dtype": "float32", "text_config": {"dtype": "x"}}
    assert without_preferences(config) == {"id2label": {"dtype": "a"}, "text_config": {}}
