"""Fewer heads: plain transformers loads them, they compute what masked heads do, runs go on."""

import json

import pytest
import torch
import transformers as tf

from app.planning.model_files.files import LocalModel
from app.planning.model_files.outlines import Outlines
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.structure import ConfigurationError, NormError, NothingLeftError, Width
from tests.families import BY_NAME, records
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.files import open_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.structure.channels import by_magnitude
from workers.pruning.structure.reduce import check_outputs, outputs_of, reduce

HALF = Width(mlp_removed=0, heads_removed=0.5)
LANGUAGE = Width(mlp_removed=0, heads_removed={Modality.LANGUAGE: 0.5})


class Made:
    """A model with fewer heads: the adapter with zeros in their place, and the files."""

    def __init__(self, source, out, kind, settings=HALF, checkpoints=None, on_block=None):
        copy_checkpoint(source, out)
        self.out = out
        self.masked = adapt(load_model(source))
        self.batches = list(self.masked.batches(records(kind), batch_size=2, max_length=24))
        self.reduced = reduce(
            self.masked,
            settings,
            self.batches,
            out,
            on_block or (lambda _progress: None),
            checkpoints=checkpoints,
        )


def planned(directory, settings=HALF):
    """What a plan says of a model in a directory."""
    outlines = Outlines([directory.parent], "http://127.0.0.1:1")
    outline = outlines.of(LocalModel(directory.name), "project")
    return plan_structure(outline, Recipe(sparsity=0, structure=(settings,)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama", HALF),  # two query heads for each key-value head
        ("qwen2", HALF),  # biases of queries, keys and values
        ("qwen3", HALF),  # norms of a head's width
        ("vit", HALF),  # a bias in what reads the heads
        ("llava", LANGUAGE),
    ],
)
def test_a_plain_load_computes_what_the_masked_model_does(
    family_directory, tmp_path, name, settings
):
    made = Made(family_directory(name), tmp_path / "out", BY_NAME[name].kind, settings)
    tensors = open_checkpoint(made.out).tensors
    plan = planned(family_directory(name), settings)
    assert {key: each.shape for key, each in plan.outline.tensors.items()} == {
        key: each.shape for key, each in tensors.items()
    }
    plain, told = type(made.masked.model).from_pretrained(made.out, output_loading_info=True)
    assert not any(told.values())
    config, before = plain.config.get_text_config(), made.masked.model.config.get_text_config()
    assert config.num_attention_heads == before.num_attention_heads // 2
    assert config.head_dim == before.hidden_size // before.num_attention_heads
    again = adapt(load_model(made.out))
    check_outputs(again, made.batches[0], made.reduced)
    for batch in made.batches:
        with torch.no_grad():
            pairs = zip(outputs_of(made.masked, batch), outputs_of(again, batch), strict=True)
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_what_reads_them_is_solved_for_again(family_directory, tmp_path):
    dense = adapt(load_model(family_directory("llama")))

    def apart(name, **how):
        settings = Width(mlp_removed=0, heads_removed=0.5, **how)
        made = Made(family_directory("llama"), tmp_path / name, "text", settings)
        with torch.no_grad():
            return sum(
                float((dense.forward(batch).logits - made.masked.forward(batch).logits).norm())
                for batch in made.batches
            )

    assert apart("solved") < apart("plain", score="magnitude", solve=False)


def test_heads_and_channels_go_together_and_whole_groups_stay(family_directory, tmp_path):
    settings = Width(mlp_removed=0.5, heads_removed=0.5)
    seen = []
    made = Made(family_directory("llama"), tmp_path / "out", "text", settings, on_block=seen.append)
    config = json.loads((made.out / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (2, 1)
    assert (config["head_dim"], config["intermediate_size"]) == (4, 12)
    assert [(each.done, each.total) for each in seen] == [(n, 4) for n in range(1, 5)]
    weight = made.masked.model.model.layers[0].self_attn.o_proj.weight
    assert [bool(weight[:, n * 8 : n * 8 + 8].any()) for n in range(2)].count(True) == 1
    assert tf.AutoModelForCausalLM.from_pretrained(made.out).config.num_key_value_heads == 1


class Cut(Exception):  # noqa: N818 - the end of a process
    pass


def test_it_goes_on_where_it_was_cut_to_the_same_bytes(family_directory, tmp_path):
    settings = Width(mlp_removed=0.5, heads_removed=0.5)
    source = family_directory("llama")
    whole = Made(source, tmp_path / "whole", "text", settings)
    for number in (1, 3):
        left = [number]

        def cut(_progress, left=left):
            left[0] -= 1
            if not left[0]:
                raise Cut

        kept = DiskCheckpoints(tmp_path / f"checkpoints-{number}", {}, limit=1 << 30)
        with pytest.raises(Cut):
            Made(source, tmp_path / f"cut-{number}", "text", settings, kept, cut)
        again = Made(source, tmp_path / f"again-{number}", "text", settings, kept)
        for file in open_checkpoint(whole.out).files:
            assert (again.out / file).read_bytes() == (whole.out / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("llama", Width(mlp_removed=0, heads_removed=0.25), NothingLeftError),  # of two groups
        ("clip", HALF, ConfigurationError),
        ("bert", HALF, ConfigurationError),
        ("gpt2", HALF, ConfigurationError),
        ("llava", HALF, ConfigurationError),  # its vision tower
    ],
)
def test_what_cannot_be_is_refused_by_name_in_the_plan_too(
    family_directory, tmp_path, name, settings, kind
):
    with pytest.raises(kind):
        planned(family_directory(name), settings)
    with pytest.raises(kind):
        Made(family_directory(name), tmp_path / "out", BY_NAME[name].kind, settings)


SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (tf.Olmo2ForCausalLM, tf.Olmo2Config(**SIZES)),
        (tf.Olmo3ForCausalLM, tf.Olmo3Config(**SIZES)),
        (
            tf.MiniMaxM2ForCausalLM,
            tf.MiniMaxM2Config(**SIZES, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
        ),
        # Its norms are as wide as the hidden states, with whatever heads.
        (tf.OlmoeForCausalLM, tf.OlmoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2)),
    ],
)
def test_norms_over_all_heads_are_refused_before_files_change(tmp_path, model_class, config):
    model_class(config).save_pretrained(tmp_path / "source")
    copy_checkpoint(tmp_path / "source", tmp_path / "out")
    adapter = adapt(load_model(tmp_path / "source"))
    words = {"input_ids": torch.arange(8)[None], "attention_mask": torch.ones(1, 8).long()}
    with pytest.raises(NormError, match="q_norm: it norms all heads") as by_worker:
        reduce(adapter, HALF, [words], tmp_path / "out")
    with pytest.raises(NormError) as by_plan:
        planned(tmp_path / "source")
    # Files hold the keys' norm first, classes that of the queries.
    assert str(by_plan.value).replace("k_norm", "q_norm") == str(by_worker.value)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()


def test_units_go_by_the_sum_of_theirs():
    weight = torch.tensor([[3.0, 0.0, 2.0, 2.0, 0.0, 1.0]])
    assert by_magnitude(weight, torch.zeros(6), 4, 2).kept.tolist() == [0, 1, 2, 3]
    assert by_magnitude(weight, torch.zeros(6), 2, 2).kept.tolist() == [0, 1]
    assert by_magnitude(weight, torch.zeros(6), 3, 3).kept.tolist() == [0, 1, 2]
