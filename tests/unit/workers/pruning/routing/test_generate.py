"""`generate` and hand-written loops: caches, beams, sampling, several turns, refusals."""

import pytest
import torch
import transformers as tf
from torch.nn.functional import pad

from tests.unit.workers.pruning.routing.subjects import (
    DROPPING,
    FAMILIES,
    LAYERS,
    Recorder,
    fixed,
    model_of,
    prompts,
)
from workers.pruning.routing import runtime
from workers.pruning.routing.runtime import ParError, par

RUNNING = (0, 1, 2, 3, 5)
CACHED = [name for name in FAMILIES if name != "instructblip"]  # uncached, it forgets the image


def decide_of(name):
    return Recorder(fixed(0.5 if name in DROPPING else 1.0, RUNNING))


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("name", CACHED)
@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"do_sample": True, "num_return_sequences": 2, "temperature": 0.7},
        {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    ],
    ids=["greedy", "sampling", "beams"],
)
def test_cached_is_uncached(name, drop_layer, how):
    model, inputs, decide = model_of(name), prompts(name), decide_of(name)
    answers = []
    with par(model, decide, drop_layer):
        for cached in (True, False):
            torch.manual_seed(0)
            answers.append(model.generate(**inputs, **how, max_new_tokens=5, use_cache=cached))
    assert torch.equal(*answers)
    assert len(decide.calls) == 2  # one a prompt, not one a token
    torch.manual_seed(0)
    assert not torch.equal(answers[0], model.generate(**inputs, **how, max_new_tokens=5))


def test_beams_of_instructblip():
    model, inputs = model_of("instructblip"), prompts("instructblip")
    decide = decide_of("instructblip")
    with par(model, decide):
        model.generate(**inputs, num_beams=3, max_new_tokens=5)
    assert [segments.shape[0] for _, segments, _ in decide.calls] == [6]


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_each_layer_caches_what_it_saw(name, drop_layer):
    model, inputs, decide = model_of(name), prompts(name), decide_of(name)
    with par(model, decide, drop_layer):
        cache = model(**inputs, use_cache=True)
    cache = getattr(cache, "language_model_outputs", cache).past_key_values
    length, short = inputs["input_ids"].shape[1], int(decide.left().sum(1).max())
    expected = [length if i < drop_layer else short if i in RUNNING else 0 for i in range(LAYERS)]
    if name not in DROPPING:
        expected = [length if i in RUNNING else 0 for i in range(LAYERS)]
    else:
        assert short < length
    assert [layer.get_seq_length() for layer in cache.layers] == expected


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("name", DROPPING)
@torch.no_grad()
def test_a_loop_by_hand_equals_one_long_prompt(name, drop_layer):
    """Three more tokens at once, then one: as if they had stood in the prompt."""
    model, decide = model_of(name), decide_of(name)
    inputs = prompts(name, ((3, 5),))
    inputs.pop("attention_mask")
    more = torch.randint(20, 60, (1, 4), generator=torch.Generator().manual_seed(1))
    with par(model, decide, drop_layer):
        cache = model(**inputs, use_cache=True).past_key_values
        steps = [
            model(input_ids=part, past_key_values=cache).logits for part in more.split((3, 1), 1)
        ]
        whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], more], 1)}
        if "mm_token_type_ids" in inputs:
            whole["mm_token_type_ids"] = pad(inputs["mm_token_type_ids"], (0, 4))
        keep = decide.calls[0][2]
        decide._decide = lambda *_: keep
        expected = model(**whole, use_cache=False).logits[:, -4:]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_second_turn_goes_on_from_the_cache():
    model, inputs, decide = model_of("llava"), prompts("llava"), decide_of("llava")
    with par(model, decide):
        first = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
        words = torch.full((2, 4), 30)
        ids = torch.cat([first.sequences, words], 1)
        mask = pad(inputs["attention_mask"], (0, 7), value=1)
        second = {"input_ids": ids, "attention_mask": mask}
        cached = model.generate(**second, past_key_values=first.past_key_values, max_new_tokens=3)
        fresh = model.generate(**second, pixel_values=inputs["pixel_values"], max_new_tokens=3)
        keep = decide.calls[0][2].keep
        assert torch.equal(keep, decide.calls[1][2].keep)
    assert torch.equal(cached, fresh)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_implementations_and_dtypes(attention, dtype):
    model = tf.LlavaForConditionalGeneration(model_of("llava").config).to(dtype).eval()
    model.set_attn_implementation(attention)
    inputs = prompts("llava", ((2, 3, 4), (2, 7)))
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    with par(model, decide_of("llava")):
        answer = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2)
    assert answer.shape[1] == inputs["input_ids"].shape[1] + 2
    model.set_attn_implementation("sdpa")


@torch.no_grad()
def test_text_alone_runs_dense():
    model, decide = model_of("llava"), decide_of("llava")
    inputs = {"input_ids": torch.randint(20, 60, (2, 9))}
    dense = model.generate(**inputs, max_new_tokens=4)
    with par(model, decide):
        assert torch.equal(model.generate(**inputs, max_new_tokens=4), dense)
    assert not decide.calls


REFUSED = {
    "static cache": ({"cache_implementation": "static"}, "dynamic cache"),
    "quantized cache": ({"cache_implementation": "quantized"}, "dynamic cache"),
    "prompt lookup": ({"prompt_lookup_num_tokens": 2}, "Assisted decoding"),
    "assistant": ({"assistant_model": object()}, "Assisted decoding"),
    "chunks": ({"prefill_chunk_size": 4}, "Chunked prefill"),
    "in a config": (
        {"generation_config": tf.GenerationConfig(prefill_chunk_size=4)},
        "Chunked prefill",
    ),
}


@pytest.mark.parametrize(("how", "words"), REFUSED.values(), ids=REFUSED)
def test_refused_ways_of_generating(how, words):
    model = model_of("llava")
    with par(model, decide_of("llava")), pytest.raises(ParError, match=words):
        model.generate(**prompts("llava"), **how)


@torch.no_grad()
def test_refused_forwards():
    model, inputs = model_of("llava"), prompts("llava")
    static = tf.StaticCache(config=model.config.text_config, max_cache_len=64)
    square = torch.ones(2, 1, 26, 26, dtype=torch.bool)
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    with par(model, decide_of("llava")):
        with pytest.raises(ParError, match="DynamicCache, not a StaticCache"):
            model(**inputs, past_key_values=static)
        with pytest.raises(ParError, match=r"masks of shape \(batch, length\)"):
            model(**{**inputs, "attention_mask": square})
        with pytest.raises(ParError, match="give input_ids"):
            model(inputs_embeds=embeddings, pixel_values=inputs["pixel_values"])
        with pytest.raises(ParError, match="packed"):
            model(**inputs, cu_seq_lens_q=torch.tensor([0, 26]))
        cache = model(**inputs).past_key_values
        with pytest.raises(ParError, match="New images on a live cache"):
            model(**inputs, past_key_values=cache)


def test_drop_layer_0_cannot_go_on_in_generate():
    model, inputs = model_of("llava"), prompts("llava")
    with par(model, decide_of("llava"), 0):
        first = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
        words = torch.full((2, 4), 30)
        with pytest.raises(ParError, match="cannot go on from a cache"):
            model.generate(
                input_ids=torch.cat([first.sequences, words], 1),
                attention_mask=pad(inputs["attention_mask"], (0, 7), value=1),
                past_key_values=first.past_key_values,
                max_new_tokens=3,
            )


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (runtime.Decision(torch.tensor([[4], [0]]), tuple(range(LAYERS))), "image tokens only"),
        (runtime.Decision(None, (1, 2, 3)), "hold layer 0"),
        (runtime.Decision(None, (0, 2, 1)), "ascending"),
        (runtime.Decision(None, (0, 6)), "of the model"),
    ],
)
def test_refused_decisions(decision, words):
    model = model_of("llava")
    with par(model, lambda *_: decision), pytest.raises(ParError, match=words):
        model(**prompts("llava"))


def test_instructblip_drops_no_tokens():
    model = model_of("instructblip")
    with par(model, fixed(0.5)), pytest.raises(ParError, match="none of its image tokens"):
        model(**prompts("instructblip"))
