"""How texts with an image are written for processors of every kind."""

import pytest
import torch

from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.image_prompts import prompt_form
from workers.pruning.models.loading import load_model


class Tokenizer:
    bos_token, bos_token_id = "<s>", 1

    def __call__(self, texts):
        return {"input_ids": [[1]] * len(texts)}


class Processor:
    """Gives the image place 9 where its rule finds what it wants."""

    tokenizer = Tokenizer()

    def __init__(self, wants, **tokens):
        self._wants = wants
        for name, token in tokens.items():
            setattr(self, name, token)

    def __call__(self, text, images, return_tensors):
        assert len(text) == len(images) == 1
        assert return_tensors == "pt"
        if not self._wants(text[0]):
            raise ValueError("another number of images")
        return {"input_ids": torch.tensor([[1, 9, 9, 5]])}

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        ((image, words),) = [message["content"] for message in messages]
        assert image == {"type": "image"}
        return f"<s>USER: <image> {words['text']} ANSWER:"


TOKENS = {"image_token": "<image>", "boi_token": "<boi>"}
AROUND = {"vision_start_token": "<v>", "vision_end_token": "</v>"}


@pytest.mark.parametrize(
    ("processor", "written"),
    [
        (
            Processor(lambda t: "USER" in t, chat_template="...", **TOKENS),
            "USER: <image> a ANSWER:",
        ),
        (Processor(lambda t: "<" not in t, **TOKENS), "a"),
        (
            Processor(lambda t: t.startswith("<v><image></v>"), **TOKENS, **AROUND),
            "<v><image></v>a",
        ),
        (Processor(lambda t: t.startswith("<image>"), **TOKENS), "<image>a"),
        (Processor(lambda t: t.startswith("<boi>"), **TOKENS), "<boi>a"),
        (Processor(lambda _: False, **TOKENS), "<boi>a"),  # its own refusal is told later
    ],
    ids=["chat", "by itself", "around", "image", "begin", "none"],
)
def test_the_first_form_that_gives_the_image_a_place(processor, written):
    assert prompt_form(processor, {9})("a") == written


@pytest.mark.parametrize(
    ("name", "begins"), [("qwen3_vl", "<|vision_start|>"), ("gemma3", "<start_of_image>")]
)
def test_real_processors_get_what_they_want(name, begins, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    assert adapter.prompt("a cat").startswith(begins)
    assert adapter.prompt("a cat").endswith("a cat")
