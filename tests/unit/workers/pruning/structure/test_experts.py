"""Fewer experts: plain transformers loads them, they compute what masked routers do, runs go on."""

import functools
import hashlib
import json

import pytest
import torch
import transformers as tf
from torch.nn import functional

from app.errors import CalibrationDataError
from app.planning.model_files.files import LocalModel
from app.planning.model_files.outlines import Outlines
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.structure import (
    ConfigurationError,
    Experts,
    NothingLeftError,
    UnevenError,
    WiringError,
)
from tests.models_of_experts import moe
from tests.tiny_models import records
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.files import open_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.resume import NoCheckpoints
from workers.pruning.structure import mixtures
from workers.pruning.structure.experts import Tally, chosen, tallies_of
from workers.pruning.structure.reduce import check_outputs, outputs_of, reduce
from workers.pruning.structure.sizes import ModelSize, compared

QUARTER = Experts(removed=0.25)
COUNT = {"n_routed_experts": 8, "num_local_experts": 8, "num_experts": 8}
GROUPED = {**COUNT, "n_group": 2, "topk_group": 1, "num_key_value_heads": 4}
MORE = dict(
    [
        moe("grouped", "DeepseekV3ForCausalLM", **GROUPED),
        moe("grouped_v2", "DeepseekV2ForCausalLM", topk_method="group_limited_greedy", **GROUPED),
    ]
)
WORKING = [
    *("mixtral", "qwen3_moe", "grouped", "grouped_v2", "gpt_oss", "llama4", "dbrx", "granitemoe"),
    *("ernie4_5_moe", "longcat_flash", "minimax_m2", "lfm2_moe", "nemotron_h", "phimoe"),
]


@pytest.fixture(scope="module")
def source(experts_directory, tmp_path_factory):
    """Directory of a model, built once; the biases that correct routing are no zeros."""

    @functools.cache
    def built(name):
        if name not in MORE:
            return experts_directory(name)
        directory = tmp_path_factory.mktemp("grouped") / name
        MORE[name](directory)
        model = tf.AutoModelForCausalLM.from_pretrained(directory)
        bias = getattr(model.model.layers[1].mlp.gate, "e_score_correction_bias", None)
        if bias is not None:
            bias.copy_(torch.linspace(-0.1, 0.1, len(bias)))
        model.save_pretrained(directory)
        return directory

    return built


class Thinned:
    """A model with fewer experts: the adapter as it was, and the files."""

    def __init__(self, source, out, settings=QUARTER, checkpoints=None, on_block=None):
        copy_checkpoint(source, out)
        self.dense = adapt(load_model(source))
        self.batches = batches_of(self.dense)
        self.before = ModelSize(self.dense)
        self.out = out
        self.reduced = reduce(
            self.dense,
            settings,
            self.batches,
            out,
            on_block or (lambda _progress: None),
            checkpoints=checkpoints,
        )

    def digest(self):
        files = sorted(path for path in self.out.iterdir() if path.is_file())
        content = b"".join(path.name.encode() + path.read_bytes() for path in files)
        return hashlib.sha256(content).hexdigest()


def batches_of(adapter, size=2):
    return list(adapter.batches(records("text"), batch_size=size, max_length=24))


def planned(directory, settings=QUARTER):
    """What a plan says of a model in a directory."""
    outlines = Outlines([directory.parent], "http://127.0.0.1:1")
    outline = outlines.of(LocalModel(directory.name), "project")
    return plan_structure(outline, Recipe(sparsity=0, structure=(settings,)))


@pytest.mark.parametrize("name", WORKING)
def test_a_plain_load_computes_what_masked_routers_do(source, tmp_path, name):
    made = Thinned(source(name), tmp_path / "out")
    tensors = open_checkpoint(made.out).tensors
    plan = planned(source(name))
    shapes = sorted(each.shape for each in tensors.values())
    assert sorted(each.shape for each in plan.outline.tensors.values()) == shapes
    model_class = type(made.dense.model)
    plain, told = model_class.from_pretrained(made.out, output_loading_info=True)
    assert not any(told.values())
    prompt = made.batches[0]["input_ids"][:1]
    assert plain.generate(prompt, max_new_tokens=2).shape[0] == 1
    again = adapt(load_model(made.out))
    check_outputs(again, made.batches[0], made.reduced)
    found = outputs_of(again, made.batches[0])
    for one, other in zip(made.reduced.expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    report = compared(made.before, ModelSize(again), made.reduced.blocks)
    (tower,) = [each for each in report.towers if each.experts]
    (foreseen,) = [each for each in plan.report.towers if each.experts]
    count = 6 if name in MORE else 3
    assert tower.experts_kept == foreseen.experts_kept == count
    assert all(len(block.experts) == block.kept == count for block in made.reduced.blocks)
    assert (tower.flops, tower.flops_kept) == (foreseen.flops, foreseen.flops_kept)
    assert report.bytes_kept == plan.report.bytes_kept < report.bytes


def masked(router, gone, *, renormalised):
    """A router of softmax and top-k, written anew, to which some experts do not exist."""

    def forward(states):
        logits = functional.linear(states.reshape(-1, states.shape[-1]), router.weight)
        logits[:, gone] = -torch.inf
        weights, index = logits.softmax(-1).topk(router.top_k, dim=-1)
        if renormalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, weights, index

    router.forward = forward


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "grouped", "grouped_v2"])
def test_it_is_the_dense_model_whose_other_experts_are_chosen_by_nobody(source, tmp_path, name):
    made = Thinned(source(name), tmp_path / "out")
    model = tf.AutoModelForCausalLM.from_pretrained(source(name)).eval()
    small = tf.AutoModelForCausalLM.from_pretrained(made.out).eval()
    for block in made.reduced.blocks:
        router = model.get_submodule(block.name.removesuffix("experts") + "gate")
        size = len(router.weight)
        gone = [number for number in range(size) if number not in block.experts]
        if name in MORE:
            halves = [sum(number // (size // 2) == half for number in gone) for half in range(2)]
            assert halves == [1, 1]
        if name == "grouped":
            router.e_score_correction_bias[gone] = -torch.inf
        elif name != "grouped_v2":
            masked(router, gone, renormalised=name == "mixtral")
        else:
            mask_logits(router, gone)
    with torch.no_grad():
        for batch in made.batches:
            one, other = (each(**batch, use_cache=False).logits for each in (model, small))
            real = batch["attention_mask"].bool()
            assert torch.allclose(one[real], other[real], atol=1e-5)


def mask_logits(router, gone):
    """Groups of DeepSeek-V2 choose by the softmax: experts of a logit of -inf have none."""
    real = type(router).forward

    def forward(states):
        bias = torch.zeros(len(router.weight))
        bias[gone] = -torch.inf
        linear = functional.linear

        def other(inputs, weight, *more):
            return linear(inputs, weight, *more) + bias

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functional, "linear", other)
            return real(router, states)

    router.forward = forward


def seen_by(model, batches, activation):
    """Scores of all experts of a plain model, from its own routing and its own weights."""
    sums = {}

    def hook(name, module, args):
        states, index, gates = args
        for expert in range(len(module.down_proj)):
            rows, places = (index == expert).nonzero(as_tuple=True)
            gate, up = (states[rows] @ module.gate_up_proj[expert].T).chunk(2, -1)
            norms = ((activation(gate) * up) @ module.down_proj[expert].T).norm(dim=-1)
            found = sums.setdefault(name, torch.zeros(3, len(module.down_proj)))
            found[:, expert] += torch.stack(
                [(norms * gates[rows, places]).sum(), norms.sum(), torch.tensor(len(rows))]
            )

    for name, module in model.named_modules():
        if name.endswith(".experts"):
            module.register_forward_pre_hook(functools.partial(hook, name))
    with torch.no_grad():
        for batch in batches:
            model(**batch, use_cache=False)
    return sums


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "grouped"])
def test_scores_are_those_of_a_plain_model_and_padding_counts_for_nothing(source, name):
    adapter = adapt(load_model(source(name)))
    every = [mixture for tower in adapter.towers for mixture in mixtures.mixtures_of(tower)]
    with torch.no_grad():
        tallies = tallies_of(adapter, every, batches_of(adapter, 3), print, NoCheckpoints())
    model = tf.AutoModelForCausalLM.from_pretrained(source(name)).eval()
    model.set_experts_implementation("eager")
    seen = seen_by(model, batches_of(adapter, 1), functional.silu)  # nothing is padded
    assert len(tallies) == len(seen)
    tokens = sum(batch["input_ids"].numel() for batch in batches_of(adapter, 1))
    for mixture, tally in tallies.items():
        gated, norms, counts = seen[mixture.name].double()
        assert tally.scores("frequency").tolist() == counts.tolist()
        assert counts.sum() == 2 * tokens
        for score, sums in (("reap", gated), ("norm", norms)):
            expected = (sums / counts).nan_to_num()
            torch.testing.assert_close(tally.scores(score), expected, rtol=1e-4, atol=1e-9)


def test_a_tally_is_a_mean_over_tokens():
    tally = Tally(3)
    tally.see(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 0, torch.tensor([0.5, 1.0]))
    tally.see(torch.tensor([[0.0, 2.0]]), 2, None)
    assert tally.scores("reap").tolist() == [1.75, 0.0, 2.0]
    assert tally.scores("norm").tolist() == [3.0, 0.0, 2.0]
    assert tally.scores("frequency").tolist() == [2.0, 0.0, 1.0]
    assert tally.finite()
    tally.see(torch.tensor([[torch.nan]]), 1, None)
    assert not tally.finite()


def test_as_many_stay_of_every_group_and_the_first_of_equals():
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    assert chosen(scores, 2, 1).tolist() == [0, 1]
    assert chosen(scores, 2, 2).tolist() == [0, 3]
    assert chosen(scores, 3, 3).tolist() == [0, 2, 4]


class Cut(Exception):  # noqa: N818 - the end of a process
    pass


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_it_goes_on_where_it_was_cut_to_the_same_bytes(source, tmp_path, name):
    whole = Thinned(source(name), tmp_path / "whole")

    def cut(_progress):
        raise Cut

    kept = DiskCheckpoints(tmp_path / "checkpoints", {}, limit=1 << 30)
    with pytest.raises(Cut):
        Thinned(source(name), tmp_path / "cut", checkpoints=kept, on_block=cut)
    begun = []
    again = Thinned(source(name), tmp_path / "again", checkpoints=kept, on_block=begun.append)
    assert len(begun) == 1  # of two blocks
    assert again.digest() == whole.digest()
    assert again.reduced.blocks == whole.reduced.blocks


def test_a_reduced_model_is_reduced_again(source, tmp_path):
    first = Thinned(source("grouped"), tmp_path / "first")
    second = Thinned(first.out, tmp_path / "second", Experts(removed=0.34))
    assert json.loads((second.out / "config.json").read_text())["n_routed_experts"] == 4
    again = adapt(load_model(second.out))
    check_outputs(again, second.batches[0], second.reduced)


def test_data_is_needed(source, tmp_path):
    with pytest.raises(CalibrationDataError):
        reduce(adapt(load_model(source("mixtral"))), QUARTER, [], tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "kind", "said"),
    [
        ("mixtral", Experts(removed=0.1), NothingLeftError, "at least one has to go"),
        ("mixtral", Experts(removed=0.75), NothingLeftError, "every token is routed to 2"),
        ("grouped", Experts(removed=0.125), NothingLeftError, "such as 6 or 8"),
        ("grouped", Experts(removed=0.75), NothingLeftError, "at least 2 from a group"),
        ("jetmoe", QUARTER, WiringError, "not understood"),
        (
            "mixtral",
            Experts(removed={Modality.VISION: 0.5}),
            WiringError,
            "has experts|has what experts",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name_in_the_plan_too(
    source, tmp_path, name, settings, kind, said
):
    with pytest.raises(kind, match=said):
        planned(source(name), settings)
    with pytest.raises(kind, match=said):
        Thinned(source(name), tmp_path / "out", settings)
    for file in open_checkpoint(source(name)).files:
        assert (tmp_path / "out" / file).read_bytes() == (source(name) / file).read_bytes()


def test_models_without_experts_are_refused(family_directory, tmp_path):
    with pytest.raises(WiringError, match="has experts"):
        planned(family_directory("llama"))
    with pytest.raises(WiringError, match="has experts"):
        Thinned(family_directory("llama"), tmp_path / "out")


def test_layers_of_numbers_of_their_own_are_refused(source, tmp_path, monkeypatch):
    real = mixtures.mixtures_of

    def uneven(tower):
        first, *others = real(tower)
        object.__setattr__(first, "count", 3)
        return [first, *others]

    monkeypatch.setattr(mixtures, "mixtures_of", uneven)
    with pytest.raises(UnevenError, match="3, 4"):
        Thinned(source("mixtral"), tmp_path / "out")


def test_a_configuration_that_does_not_count_them_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(mixtures, "_candidates", lambda _trials, _count: [])
    with pytest.raises(ConfigurationError, match=r"no number of config\.json"):
        Thinned(source("mixtral"), tmp_path / "out")
