"""The static export: plain `from_pretrained`, and the same answers as skipping."""

import json

import pytest
import torch
import transformers as tf

from app.errors import ModelLoadError
from tests.unit.workers.pruning.routing.subjects import FAMILIES, model_of, prompts
from workers.pruning.routing.export import export_static
from workers.pruning.routing.runtime import Decision, anatomy, par

RUNNING = (0, 1, 3, 5)


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_as_the_skipping_model_does(name, tmp_path):
    model, inputs = model_of(name), prompts(name)
    source, target = tmp_path / "source", tmp_path / "target"
    model.save_pretrained(source)
    (source / "tokenizer.json").write_text("{}")
    (source / "model.safetensors.index.json").write_text("{}")
    export_static(anatomy(model), source, target, RUNNING)
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    loaded, info = type(model).from_pretrained(target, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert len(anatomy(loaded).layers) == loaded.config.get_text_config().num_hidden_layers == 4
    with par(model, lambda *_: Decision(None, RUNNING)), torch.no_grad():
        logits = model(**inputs).logits
        answer = model.generate(**inputs, max_new_tokens=4)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**inputs).logits, logits)
    how = getattr(model, "language_model", model).generation_config
    assert torch.equal(loaded.generate(**inputs, generation_config=how, max_new_tokens=4), answer)


def test_the_model_stays_as_it_is(tmp_path):
    model = model_of("qwen2_vl")
    layers, config = anatomy(model).layers, json.dumps(model.config.to_dict(), default=str)
    export_static(anatomy(model), tmp_path, tmp_path / "target", RUNNING)
    assert anatomy(model).layers is layers
    assert json.dumps(model.config.to_dict(), default=str) == config
    written = tf.AutoConfig.from_pretrained(tmp_path / "target").text_config
    assert written.layer_types == ["full_attention"] * 4


def test_also_after_an_exception(tmp_path, monkeypatch):
    model = model_of("llava")
    layers = anatomy(model).layers
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "config.json").mkdir()  # where a file has to go
    with pytest.raises(OSError, match=r"config\.json"):
        export_static(anatomy(model), tmp_path, tmp_path / "target", RUNNING)
    assert anatomy(model).layers is layers
    assert model.config.text_config.num_hidden_layers == 6


def test_the_source_is_not_replaced(tmp_path):
    with pytest.raises(ModelLoadError, match="own source"):
        export_static(anatomy(model_of("llava")), tmp_path, tmp_path, RUNNING)
