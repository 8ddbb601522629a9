"""Long texts keep their special tokens, images their placeholders, labels their tokens."""

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import CalibrationDataError
from tests.families import BY_NAME
from tests.tiny_models import WORDS, records, tokenizer
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.inputs.limits import count_tokens, longest_text, shorten
from workers.pruning.models.loading import load_model
from workers.pruning.models.prompts import encode_prompt

PICTURE = Image.new("RGB", (20, 20))
READS = sorted(name for name, family in BY_NAME.items() if family.kind != "image")
PLACED = ["blip2_opt", "blip2_t5", "instructblip", "llava", "llava_next", "paligemma"]
PLACED += ["qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm"]
END = 2


def long(record, times=9):
    text = f"{record.text} " * times if record.text else None
    return CalibrationRecord(text, record.image)


def last_tokens(batch, key="input_ids"):
    mask = batch.get("attention_mask", torch.ones_like(batch[key]))
    return [int(ids[int(real.sum()) - 1]) for ids, real in zip(batch[key], mask, strict=True)]


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("max_length", [6, 16])
def test_every_text_begins_and_ends_as_the_tokenizer_has_it(name, max_length, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    made = [long(record) for record in records(BY_NAME[name].kind)]
    batch = next(adapter.batches(made, batch_size=5, max_length=max_length))
    assert last_tokens(batch) == [END] * 5
    if "labels" in batch:
        assert (batch["labels"] == END).any(1).all()
    adapter.forward(batch)


@pytest.mark.parametrize("name", PLACED)
def test_an_image_keeps_its_tokens_however_short_the_text(name, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    image = adapter.loaded.config.image_token_id

    def count(text, max_length):
        batch = next(
            adapter.batches([CalibrationRecord(text, PICTURE)], batch_size=1, max_length=max_length)
        )
        adapter.forward(batch)
        return int((batch["input_ids"] == image).sum()), batch["input_ids"].shape[1]

    whole, short = count("cat", 64), count("cat " * 40, 4)
    assert whole[0] == short[0] > 0
    assert short[1] == count("cat " * 40, 5)[1] - 1  # max_length counts the text alone


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_long_texts_stay_apart(name, family_directory):
    """CLIP reads a text off its end token: without one, all texts are the same."""
    adapter = adapt(load_model(family_directory(name)))
    made = [long(CalibrationRecord(f"{word} house", PICTURE)) for word in ("red", "blue", "green")]
    batch = next(adapter.batches(made, batch_size=3, max_length=8))
    with torch.no_grad():
        texts = adapter.forward(batch).text_embeds
    assert torch.pdist(texts).min() > 1e-4


def test_a_question_that_is_cut_still_ends_where_the_answer_begins(family_directory):
    adapter = adapt(load_model(family_directory("llava")))
    for max_length in (4, 9):
        record = CalibrationRecord("what colour is the cat " * 9, PICTURE)
        ids = encode_prompt(adapter, record, max_length)["input_ids"][0].tolist()
        assert ids[0] == 1
        assert END not in ids
        assert len(ids) == max_length - 1 + 4  # without the end token, with the image


def test_the_labels_of_paligemma_are_the_text_that_was_kept(family_directory):
    adapter = adapt(load_model(family_directory("paligemma")))
    record = CalibrationRecord("a red cat sits on the house " * 9, PICTURE)
    batch = next(adapter.batches([record], batch_size=1, max_length=8))
    told = batch["labels"] != -100
    assert torch.equal(batch["labels"][told], batch["input_ids"][told])
    assert int(batch["labels"][0, -1]) == END


def test_a_max_length_without_room_is_refused_by_name(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    with pytest.raises(CalibrationDataError, match=r"record 1: max_length 2 .* max_length 3"):
        next(adapter.batches(records("text"), batch_size=1, max_length=2))


def test_an_image_larger_than_the_positions_is_refused_by_name(family_directory):
    adapter = adapt(load_model(family_directory("blip2_opt")))
    adapter.longest = 5
    with pytest.raises(CalibrationDataError, match=r"record 1: its image .* max_length 4"):
        next(adapter.batches(records("pair"), batch_size=1, max_length=4))


def test_positions_that_roberta_does_not_use_are_not_counted(family_directory):
    model = load_model(family_directory("roberta")).model
    assert longest_text(model) == 70 - 1
    adapter = adapt(load_model(family_directory("roberta")))
    batch = next(adapter.batches([CalibrationRecord("cat " * 200)], batch_size=1, max_length=512))
    adapter.forward(batch)


TOKENIZERS = {"fast": tokenizer(), "slow": transformers.ByT5Tokenizer()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(
    words=st.lists(st.sampled_from([*WORDS, "é", "你好"]), min_size=1, max_size=20),
    limit=st.integers(3, 12),
)
def test_a_shortened_text_is_a_beginning_that_fits_and_is_not_shorter_than_it_must(
    kind, words, limit
):
    words_to_ids = TOKENIZERS[kind]
    text = " ".join(words)
    short = shorten(words_to_ids, text, limit)
    assert text.startswith(short)
    assert count_tokens(words_to_ids, short) <= max(limit, count_tokens(words_to_ids, ""))
    if short != text and kind == "fast":
        assert count_tokens(words_to_ids, short) == limit


def test_left_truncation_keeps_the_end_of_a_text():
    words = tokenizer(truncation_side="left")
    assert shorten(words, "a photo of the red cat", 4) == "red cat"
