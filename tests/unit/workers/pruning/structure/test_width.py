"""Narrower MLPs: plain transformers loads them, they compute what masked ones do, runs go on."""

import hashlib
import json
import shutil

import pytest
import torch
import transformers as tf
from torch import nn

from app.errors import CalibrationDataError
from app.planning.model_files.files import LocalModel
from app.planning.model_files.outlines import Outlines
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.structure import (
    ConfigurationError,
    NothingLeftError,
    StructureError,
    UnevenError,
    Width,
    WiringError,
)
from tests.families import BY_NAME, records
from tests.models_without_adapter import UNSEEN
from tests.tiny_models import stored_as
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.files import open_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.structure import groups, mlp
from workers.pruning.structure.reduce import check_outputs, reduce
from workers.pruning.structure.sizes import ModelSize

HALF = Width(mlp_removed=0.5)
ROWS = BY_NAME | {family.name: family for family in UNSEEN}
WORKING = [
    *("llama", "gpt2", "bert", "t5", "vit", "siglip", "blip_caption", "llava", "qwen2_vl"),
    *("qwen2_5_vl", "phi", "qwen3_vl", "siglip2"),
]


class Narrowed:
    """A model that was narrowed: the adapter with zeros in its place, and the files."""

    def __init__(self, source, out, kind, settings=HALF, checkpoints=None, on_block=None):
        copy_checkpoint(source, out)
        memory = Memory(out, activations=0, scratch=out.parent)
        self.masked = adapt(load_model(source, memory=memory))
        self.batches = list(self.masked.batches(records(kind), batch_size=2, max_length=24))
        self.out = out
        self.reduced = reduce(
            self.masked,
            settings,
            self.batches,
            out,
            on_block or (lambda _progress: None),
            checkpoints=checkpoints,
        )
        self.decided = self.reduced.blocks

    def digest(self):
        files = sorted(path for path in self.out.iterdir() if path.is_file())
        content = b"".join(path.name.encode() + path.read_bytes() for path in files)
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def narrowed(family_directory, tmp_path):
    def run(name, settings=HALF, **more):
        out = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        return Narrowed(family_directory(name), out, ROWS[name].kind, settings, **more)

    return run


def outputs(adapter, batch):
    found = adapter.forward(batch)
    values = found.values() if hasattr(found, "values") else found
    return [each for each in values if isinstance(each, torch.Tensor)]


@pytest.mark.parametrize("name", WORKING)
def test_a_plain_load_computes_what_the_masked_model_does(family_directory, narrowed, name):
    made = narrowed(name)
    tensors = open_checkpoint(made.out).tensors
    plan = planned(family_directory(name))
    assert {key: each.shape for key, each in plan.outline.tensors.items()} == {
        key: each.shape for key, each in tensors.items()
    }
    assert plan.report.bytes_kept == sum(tensor.bytes for tensor in tensors.values())
    plain, told = type(made.masked.model).from_pretrained(made.out, output_loading_info=True)
    assert not any(told.values())
    assert made.decided
    again = adapt(load_model(made.out))
    check_outputs(again, made.batches[0], made.reduced)
    assert ModelSize(again).parameters < ModelSize(made.masked).parameters
    with torch.no_grad():
        for batch in made.batches:
            pairs = zip(outputs(made.masked, batch), outputs(again, batch), strict=True)
            assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
        if plain.can_generate() and name != "blip_caption":
            inputs = {k: v[:1] for k, v in made.batches[0].items() if k != "labels"}
            if "qwen" in name:  # patches of all images lie in one row
                inputs = {"input_ids": made.batches[0]["input_ids"][:1, :3]}
            assert plain.generate(**inputs, max_new_tokens=3).shape[0] == 1


def planned(directory):
    """What a plan says of a model in a directory."""
    outline = Outlines([directory.parent], "http://127.0.0.1:1").of(
        LocalModel(directory.name), "project"
    )
    return plan_structure(outline, Recipe(sparsity=0, structure=(HALF,)))


def test_shares_are_per_modality_and_the_others_keep_theirs(narrowed):
    made = narrowed("llava", Width(mlp_removed={Modality.VISION: 0.25}))
    config = json.loads((made.out / "config.json").read_text())
    assert config["vision_config"]["intermediate_size"] == 18
    assert config["text_config"]["intermediate_size"] == 24
    before = open_checkpoint(made.masked.loaded.directory)
    after = open_checkpoint(made.out)
    changed = {
        key for key in after.tensors if after.tensors[key].shape != before.tensors[key].shape
    }
    assert changed
    assert all("vision_tower" in key and ".mlp." in key for key in changed)


def test_solving_comes_nearer_to_the_dense_model(narrowed, family_directory):
    dense = adapt(load_model(family_directory("bert")))

    def apart(made):
        with torch.no_grad():
            return sum(
                float((dense.forward(batch)[0] - made.masked.forward(batch)[0]).square().sum())
                for batch in made.batches
            )

    plain = narrowed("bert", Width(mlp_removed=0.5, score="magnitude", solve=False))
    assert apart(narrowed("bert")) < apart(plain) / 2


def test_half_precision_and_shards_stay_as_they_are(family_directory, tmp_path):
    source = tmp_path / "half"
    model = tf.LlamaForCausalLM.from_pretrained(family_directory("llama"), dtype=torch.bfloat16)
    model.save_pretrained(source, max_shard_size="5KB")
    for file in family_directory("llama").iterdir():
        if "token" in file.name:
            shutil.copy(file, source)
    made = Narrowed(source, tmp_path / "out", "text")
    before, after = open_checkpoint(source), open_checkpoint(made.out)
    assert before.files == after.files
    assert len(before.files) > 1
    assert {each.dtype for each in after.tensors.values()} == {"BF16"}
    index = json.loads((made.out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(each.bytes for each in after.tensors.values())
    tf.LlamaForCausalLM.from_pretrained(made.out)
    stored = {p.dtype for p in load_model(made.out).model.parameters()}
    assert stored


class Cut(Exception):  # noqa: N818 - the end of a process
    pass


@pytest.mark.parametrize("name", ["llava", "bert"])
def test_it_goes_on_where_it_was_cut_to_the_same_bytes(narrowed, tmp_path, name):
    whole = narrowed(name)
    for number in range(1, len(whole.decided) + 1, 2):
        left = [number]

        def cut(_progress, left=left):
            left[0] -= 1
            if not left[0]:
                raise Cut

        kept = DiskCheckpoints(tmp_path.parent / f"{name}-{number}", {}, limit=1 << 30)
        with pytest.raises(Cut):
            narrowed(name, checkpoints=kept, on_block=cut)
        again = narrowed(name, checkpoints=kept)
        assert again.digest() == whole.digest()
        assert again.decided == whole.decided


def test_data_is_needed(family_directory, tmp_path):
    adapter = adapt(load_model(family_directory("llama")))
    with pytest.raises(CalibrationDataError):
        reduce(adapter, HALF, [], tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("llama", Width(mlp_removed=0.01), NothingLeftError),
        ("llama", Width(mlp_removed=0.5, multiple=32), NothingLeftError),
        ("mixtral", HALF, WiringError),
        ("dinov2_giant", HALF, ConfigurationError),
        ("swin", HALF, StructureError),
        ("t5", Width(mlp_removed={Modality.LANGUAGE: 0.5}), None),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_nothing_is_written(
    narrowed, family_directory, tmp_path, name, settings, kind
):
    if kind is None:
        narrowed(name, settings)
        return
    with pytest.raises(kind):
        narrowed(name, settings)
    out = next(tmp_path.glob(f"{name}-*"))
    for file in open_checkpoint(out).files:
        assert (out / file).read_bytes() == (family_directory(name) / file).read_bytes()


def test_layers_of_widths_of_their_own_are_refused(family_directory, narrowed, monkeypatch):

    real = groups.find_mlp

    def uneven(name, block):
        found = real(name, block)
        return (
            found
            if name.endswith(".0")
            else type(found)(found.name, found.reader, found.makers, found.width - 1)
        )

    monkeypatch.setattr(groups, "find_mlp", uneven)
    with pytest.raises(UnevenError, match="23, 24"):
        narrowed("llama")


class Interleaved(nn.Module):
    """A gated MLP of which gate and up take turns, row by row."""

    def __init__(self, old):
        super().__init__()
        self.gate_up_proj = nn.Linear(16, 48, bias=False)
        self.down_proj = old.down_proj

    def forward(self, states):
        both = self.gate_up_proj(states)
        return self.down_proj(torch.tanh(both[..., ::2]) * both[..., 1::2])


def test_a_wiring_that_was_guessed_wrongly_is_found_out(family_directory, tmp_path):

    model = tf.LlamaForCausalLM.from_pretrained(family_directory("llama"))
    block = nn.Sequential()
    block.add_module("norm", nn.LayerNorm(16))
    block.add_module("mlp", Interleaved(model.model.layers[0].mlp))
    found = mlp.find_mlp("block", block)
    assert found.width == 24
    kept = torch.arange(0, 24, 2)
    states = torch.randn(2, 5, 16)
    with torch.no_grad():
        found.reader.weight[:, [at for at in range(24) if at % 2]] = 0
        masked = [block(states)]
        with mlp.narrowed(found, kept):
            cut = [block(states)]
        with pytest.raises(WiringError, match="not understood"):
            mlp.check_wiring(found, kept, masked, cut)
        assert torch.equal(block(states), masked[0])


def test_a_stored_type_may_be_another_than_the_one_computed_in(family_directory, tmp_path):
    source = stored_as(family_directory("clip"), tmp_path / "half", torch.float16)
    made = Narrowed(source, tmp_path / "out", "pair")
    assert {each.dtype for each in open_checkpoint(made.out).tensors.values()} <= {"F16", "I64"}
    again = adapt(load_model(made.out))
    with torch.no_grad():
        for batch in made.batches:
            one, other = (model.forward(batch).logits_per_image for model in (made.masked, again))
            assert torch.allclose(one, other, atol=1e-4)
