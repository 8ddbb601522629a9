"""Properties of files and records that people's models and sets have, one test each."""

import json
import shutil

import pytest
import torch
import transformers as tf
from PIL import Image

from app.errors import CalibrationDataError, ModelLoadError
from tests.families import BY_NAME, records
from tests.tiny_models import DECODER, SPECIAL, WORDS, save, tokenizer
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord, is_foreign, naming_record
from workers.pruning.models.loading import load_model

PICTURE = Image.new("RGB", (20, 20), (200, 10, 10))


@pytest.fixture
def changed(family_directory, tmp_path):
    """A family's checkpoint with keys of its JSON files set anew; None takes one out."""

    def build(name, **files):
        directory = tmp_path / name
        shutil.copytree(family_directory(name), directory)
        for stem, keys in files.items():
            file = directory / f"{stem}.json"
            found = json.loads(file.read_text()) | keys
            file.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))
        return directory

    return build


def batch_of(directory, made, size=5, length=16):
    adapter = adapt(load_model(directory))
    return adapter, next(adapter.batches(made, batch_size=size, max_length=length))


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "idefics3", "paligemma", "blip2_opt"])
def test_a_placeholder_in_a_text_is_refused_by_record_and_name(name, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    mark = next(iter(adapter.placeholders.values()))
    made = [*records("pair", 2), CalibrationRecord(f"a {mark} cat", PICTURE)]
    with pytest.raises(CalibrationDataError, match=rf"record 3: .*{mark.replace('|', '.')}"):
        list(adapter.batches(made, batch_size=5, max_length=32))


def test_a_placeholder_is_a_plain_word_to_a_model_without_images(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    next(adapter.batches([CalibrationRecord("a <image> cat")], batch_size=1, max_length=32))


def test_a_pad_token_the_model_was_never_given_pads_all_the_same(tmp_path, family_directory):
    words = tokenizer()
    words.add_special_tokens({"pad_token": "[PAD]"})
    assert words.pad_token_id == 64
    save(tmp_path, tf.LlamaForCausalLM, tf.LlamaConfig(**DECODER), words)
    adapter, batch = batch_of(tmp_path, records("text"))
    assert int(batch["input_ids"].max()) < 64
    _, plain = batch_of(family_directory("llama"), records("text"))
    assert torch.equal(batch["attention_mask"], plain["attention_mask"])
    adapter.forward(batch)


def test_a_token_the_model_was_never_given_is_refused_by_record(tmp_path):
    words = tokenizer()
    words.add_tokens(["zebra"])
    save(tmp_path, tf.LlamaForCausalLM, tf.LlamaConfig(**DECODER), words)
    with pytest.raises(
        CalibrationDataError, match=r"record 2: input_ids holds token 64, .* 64 row"
    ):
        batch_of(tmp_path, [CalibrationRecord("a cat"), CalibrationRecord("a zebra")])


@pytest.mark.parametrize("name", ["llama", "clip", "bert"])
def test_a_tokenizer_that_makes_no_masks_makes_them_here(name, changed, family_directory):
    directory = changed(name, tokenizer_config={"model_input_names": ["input_ids"]})
    _, batch = batch_of(directory, records(BY_NAME[name].kind))
    _, plain = batch_of(family_directory(name), records(BY_NAME[name].kind))
    assert torch.equal(batch["attention_mask"], plain["attention_mask"])


@pytest.mark.parametrize("name", ["llama", "siglip", "llava"])
def test_a_tokenizer_that_pads_on_the_left_changes_nothing(name, changed, family_directory):
    directory = changed(name, tokenizer_config={"padding_side": "left"})
    _, batch = batch_of(directory, records(BY_NAME[name].kind))
    _, plain = batch_of(family_directory(name), records(BY_NAME[name].kind))
    assert torch.equal(batch["input_ids"], plain["input_ids"])


def test_a_tokenizer_saved_with_truncation_and_padding_changes_nothing(changed, family_directory):
    padding = {"strategy": {"Fixed": 30}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
    truncation = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    directory = changed("llama", tokenizer={"padding": padding, "truncation": truncation})
    _, batch = batch_of(directory, records("text"))
    _, plain = batch_of(family_directory("llama"), records("text"))
    assert torch.equal(batch["input_ids"], plain["input_ids"])


SIZES = [(1, 1), (1, 90), (900, 1), (3, 3), (3, 1), (2, 5), (333, 3)]
TOO_LONG = {("qwen2_vl", (900, 1))}


@pytest.mark.parametrize("name", ["clip", "llava", "llava_next", "qwen2_vl", "idefics3", "vit"])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_any_shape_is_taken_or_named(name, size, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    text = None if BY_NAME[name].kind == "image" else "a cat"
    record = CalibrationRecord(text, Image.new("RGB", size, (9, 200, 9)), number=7)
    if (name, size) in TOO_LONG:  # its processor takes sides of 1:200 at most
        with pytest.raises(CalibrationDataError, match=r"record 7: .*aspect ratio"):
            next(adapter.batches([record], batch_size=1, max_length=16))
    else:
        adapter.forward(next(adapter.batches([record], batch_size=1, max_length=16)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_a_picture_of_any_mode_is_taken(mode, family_directory):
    batch_of(family_directory("clip"), [CalibrationRecord("a cat", Image.new(mode, (20, 20)))])


def test_a_picture_without_pixels_is_named(family_directory):
    with pytest.raises(CalibrationDataError, match=r"record 1: .*pixels"):
        batch_of(family_directory("clip"), [CalibrationRecord("a cat", Image.new("RGB", (0, 9)))])


def test_a_classifier_on_a_decoder_pools_the_last_real_token(tmp_path):
    """Without a pad id in the configuration it would take no batch, or pool the padding."""
    config = tf.LlamaConfig(**{**DECODER, "pad_token_id": None}, num_labels=3)
    save(tmp_path, tf.LlamaForSequenceClassification, config, tokenizer())
    made = records("text")
    adapter, batch = batch_of(tmp_path, made)
    alone = [next(adapter.batches([r], batch_size=1, max_length=16)) for r in made]
    with torch.no_grad():
        together = adapter.call(batch).logits
        apart = torch.cat([adapter.call(each).logits for each in alone])
    assert torch.allclose(together, apart, atol=1e-5)


def test_a_broken_tokenizer_is_told_as_such(changed):
    directory = changed("clip")
    (directory / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CalibrationDataError, match="its tokenizer cannot be read: "):
        batch_of(directory, records("pair"))


def test_a_broken_image_processor_is_told_as_such(changed):
    directory = changed("vit", preprocessor_config={"image_processor_type": "NoSuchProcessor"})
    with pytest.raises(CalibrationDataError, match="its image processor cannot be read: "):
        batch_of(directory, records("image"))


def test_a_broken_generation_config_is_named(changed):
    directory = changed("llama")
    (directory / "generation_config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"generation_config\.json is not valid JSON"):
        load_model(directory)


def test_normalisation_by_other_numbers_of_channels_names_the_record(changed):
    odd = {"image_mean": [0.5, 0.5], "image_std": [0.5, 0.5]}
    file = "processor_config"
    directory = changed("clip")
    found = json.loads((directory / f"{file}.json").read_text())
    found["image_processor"] |= odd
    (directory / f"{file}.json").write_text(json.dumps(found))
    with pytest.raises(CalibrationDataError, match="record 1: the checkpoint's processor cannot"):
        batch_of(directory, records("pair"))


def test_a_tokenizer_of_words_without_an_unknown_token_names_the_record(tmp_path):
    words = tokenizer()
    raw = json.loads(words.backend_tokenizer.to_str())
    raw["model"]["unk_token"] = "absent"
    save(tmp_path, tf.LlamaForCausalLM, tf.LlamaConfig(**DECODER), words)
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(CalibrationDataError, match="record 2: "):
        batch_of(tmp_path, [CalibrationRecord("a cat"), CalibrationRecord("a zebra")])


def test_a_mistake_of_our_own_is_nobody_elses():
    def ours():
        raise KeyError("a mistake")

    with pytest.raises(KeyError), naming_record(1):
        ours()
    assert not is_foreign(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_foreign(OSError(28, "no space left on device"))


assert len(SPECIAL) + len(WORDS) < 64
