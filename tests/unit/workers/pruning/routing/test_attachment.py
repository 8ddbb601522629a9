"""Nothing stays behind: not after use, not after an exception; and who is refused."""

import pytest
import torch
import transformers as tf

from tests.families import BY_NAME
from tests.unit.workers.pruning.routing.subjects import FAMILIES, fixed, model_of, prompts
from workers.pruning.routing.runtime import ParError, UnsupportedModelError, anatomy, par


def traces(model):
    """Everything a wrapper or a hook could leave on any module."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")
    return {
        name: (set(vars(module)), [len(getattr(module, hooks)) for hooks in names])
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_left_behind(name):
    model, inputs = model_of(name), prompts(name)
    model.generate(**inputs, max_new_tokens=2)  # installs the library's own recording hooks
    before = traces(model)
    with torch.no_grad():
        dense = model(**inputs).logits
    with par(model, fixed(1.0)):
        model.generate(**inputs, max_new_tokens=2)
        assert traces(model) != before
    assert traces(model) == before
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, dense)


def test_nor_after_an_exception_anywhere():
    model, inputs = model_of("llava"), prompts("llava")
    before = traces(model)

    def broken(*_):
        raise RuntimeError("no decision")

    with pytest.raises(RuntimeError, match="no decision"), par(model, broken):
        model.generate(**inputs, max_new_tokens=2)
    assert traces(model) == before
    with par(model, fixed()), torch.no_grad():
        with pytest.raises(ParError):
            model.generate(**inputs, prefill_chunk_size=2)
        with pytest.raises(ValueError, match=r"[Ii]mage"):  # fewer images than places for them
            model(**{**inputs, "pixel_values": inputs["pixel_values"][:1]})
        model(**inputs)  # still in order
    assert traces(model) == before


def test_a_method_that_was_replaced_before_comes_back():
    model = model_of("llava")
    layer = anatomy(model).layers[0]
    mine = layer.forward
    layer.forward = mine
    with par(model, fixed()):
        pass
    assert vars(layer)["forward"] == mine
    del layer.forward


def test_twice_is_refused():
    model = model_of("llava")
    before = traces(model)
    with par(model, fixed()), pytest.raises(ParError, match="pruned already"), par(model, fixed()):
        pass
    assert traces(model) == before


@pytest.mark.parametrize("layer", [-1, 6])
def test_drop_layer_is_one_of_the_model(layer):
    with pytest.raises(ParError, match="0 to 5"), par(model_of("llava"), fixed(), layer):
        pass


def test_gradient_checkpointing_is_refused():
    model = model_of("llava")
    model.activation_checkpointing_enable()
    model.train()
    try:
        with par(model, fixed()), pytest.raises(ParError, match="checkpointing"):
            model(**prompts("llava"))
    finally:
        model.eval()
        model.activation_checkpointing_disable()


@pytest.mark.parametrize("name", ["clip", "llama", "bert", "blip2_opt", "t5", "paligemma"])
def test_other_models_are_refused_in_words(name, tmp_path):
    BY_NAME[name].build(tmp_path)
    config = tf.AutoConfig.from_pretrained(tmp_path)
    model = getattr(tf, config.architectures[0]).from_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"PAR prunes llava, llava_next, .*qwen2_vl, "):
        anatomy(model)


def test_sliding_windows_are_refused():
    config = model_of("llava").config
    text = tf.MistralConfig(**{**config.text_config.to_dict(), "sliding_window": 8})
    model = tf.LlavaForConditionalGeneration(
        tf.LlavaConfig(vision_config=config.vision_config, text_config=text)
    )
    with pytest.raises(UnsupportedModelError, match="full attention"):
        anatomy(model)


def test_encoder_decoders_are_refused(tmp_path):
    config = model_of("instructblip").config
    text = tf.T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    model = tf.InstructBlipForConditionalGeneration(
        tf.InstructBlipConfig(
            vision_config=config.vision_config.to_dict(),
            qformer_config=config.qformer_config.to_dict(),
            text_config=text.to_dict(),
        )
    )
    with pytest.raises(UnsupportedModelError, match="an encoder too"):
        anatomy(model)
