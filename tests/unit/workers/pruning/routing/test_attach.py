"""The artifact: round trip, profiles, damage, other models, life without the project."""

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers as tf

from tests.unit.workers.pruning.routing.subjects import FAMILIES, LAYERS, model_of, prompts
from workers.pruning.routing.artifact import write_artifact
from workers.pruning.routing.profiles import standard_profiles
from workers.pruning.routing.runtime import (
    ArtifactError,
    FullRouter,
    ParError,
    SlimRouter,
    anatomy,
    attach,
    config_hash,
    layer_candidates,
)


def artifact_of(name, directory, kind="slim"):
    torch.manual_seed(1)
    subject = anatomy(model_of(name))
    slim = SlimRouter(subject.hidden_size, LAYERS)
    write_artifact(
        directory,
        slim if kind == "slim" else FullRouter(subject),
        subject,
        model="org/base",
        revision="abc",
        profiles=standard_profiles(subject, 2),
        layer_candidates=layer_candidates(LAYERS),
        summary={"metrics": {"kl": 0.5}},
    )
    return directory


def kv(model, inputs):
    """Lengths of the layers' caches after a prompt."""
    with torch.no_grad():
        output = model(**inputs, use_cache=True)
    cache = getattr(output, "language_model_outputs", output).past_key_values
    return [layer.get_seq_length() for layer in cache.layers]


@pytest.mark.parametrize("kind", ["slim", "full"])
@pytest.mark.parametrize("name", FAMILIES)
def test_attaches_prunes_and_detaches(name, kind, tmp_path):
    model, inputs = model_of(name), prompts(name)
    dense = model.generate(**inputs, max_new_tokens=4)
    length = inputs["input_ids"].shape[1]
    with attach(model, artifact_of(name, tmp_path, kind)) as pruned:
        assert pruned.profile == "balanced"
        lengths = kv(model, inputs)
        assert sum(lengths) < LAYERS * length
        assert lengths.count(0) == LAYERS - pruned.profiles["balanced"].layers
        assert torch.equal(
            model.generate(**inputs, max_new_tokens=4), model.generate(**inputs, max_new_tokens=4)
        )
    assert torch.equal(model.generate(**inputs, max_new_tokens=4), dense)


def test_profiles_change_without_a_reload(tmp_path):
    model, inputs = model_of("llava"), prompts("llava", ((3, 5),))
    pruned = attach(model, artifact_of("llava", tmp_path), profile="token-only")
    try:
        text, skipped = 8, 4
        assert kv(model, inputs) == [text + 16] * 2 + [text + 5] * 4
        pruned.profile = "fast"
        lengths = kv(model, inputs)
        assert (lengths.count(0), max(lengths[2:])) == (2, text + 4)
        pruned.profile = "layer-only"
        assert sorted(kv(model, inputs)) == [0] + [text + 16] * 5
        pruned.profile = "early"
        assert max(kv(model, inputs)) == text + 5
        with pytest.raises(ParError, match="choose one of quality, balanced"):
            pruned.profile = "fastest"
        assert pruned.profile == "early"
        assert skipped == LAYERS - 2
    finally:
        pruned.detach()
    pruned.detach()  # a second time is fine
    with pytest.raises(ParError, match="no profile"):
        attach(model, tmp_path, profile="fastest")
    attach(model, tmp_path).detach()


def test_no_profile_drops_tokens_of_instructblip():
    profiles = standard_profiles(anatomy(model_of("instructblip")), 2)
    assert {profile.tokens for profile in profiles.values()} == {1.0}
    assert "layer-only" in profiles


def edit(directory, **changes):
    path = directory / "par_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | changes))


def test_damage_is_found(tmp_path):
    model, router = model_of("llava"), tmp_path / "router.safetensors"
    with pytest.raises(ArtifactError, match="no readable"):
        attach(model, tmp_path)
    content = artifact_of("llava", tmp_path).joinpath(router.name).read_bytes()
    router.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=f"{len(content) - 1} bytes, not {len(content)}"):
        attach(model, tmp_path)
    router.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="SHA-256"):
        attach(model, tmp_path)
    router.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        attach(model, tmp_path)
    artifact_of("llava", tmp_path)
    edit(tmp_path, format=2)
    with pytest.raises(ArtifactError, match="format 1, not 2"):
        attach(model, tmp_path)
    artifact_of("llava", tmp_path)
    shape = json.loads((tmp_path / "par_config.json").read_text())["router"]
    edit(tmp_path, router={**shape, "blocks": 3})
    with pytest.raises(ArtifactError, match="does not fit"):
        attach(model, tmp_path)
    attach(model, artifact_of("llava", tmp_path)).detach()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_config_is_the_same_model(name, tmp_path):
    config = model_of(name).config
    config.save_pretrained(tmp_path)
    assert config_hash(tf.AutoConfig.from_pretrained(tmp_path)) == config_hash(config)


def test_another_model_is_refused(tmp_path):
    artifact_of("llava", tmp_path)
    config = tf.LlavaConfig(**model_of("llava").config.to_dict())
    config.text_config.num_hidden_layers = 5
    with pytest.raises(ArtifactError, match="6 layers, the model has 5"):
        attach(tf.LlavaForConditionalGeneration(config), tmp_path)
    config = tf.LlavaConfig(**model_of("llava").config.to_dict())
    config.text_config.intermediate_size = 32
    with pytest.raises(ArtifactError, match="trained for org/base; this model's config differs"):
        attach(tf.LlavaForConditionalGeneration(config), tmp_path)


USE = """
import sys, torch, transformers
from par_runtime import attach
model = transformers.LlavaForConditionalGeneration.from_pretrained(sys.argv[1])
inputs = torch.load("inputs.pt")
with attach(model, "."):
    answer = model.generate(**inputs, max_new_tokens=3, do_sample=False)
assert "workers" not in sys.modules and "app" not in sys.modules
torch.save(answer, "answer.pt")
"""


def test_its_runtime_file_needs_nothing_else(tmp_path):
    model, inputs = model_of("llava"), prompts("llava")
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    artifact_of("llava", artifact)
    model.save_pretrained(tmp_path / "base")
    torch.save(inputs, artifact / "inputs.pt")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path.insert(0, '.')\n{USE}",
            tmp_path / "base",
        ],
        cwd=artifact,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    with attach(model, artifact):
        expected = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert torch.equal(torch.load(artifact / "answer.pt"), expected)
