"""The engine on a tiny Llama and a tiny LLaVA: passes, pools, reports, refusals, clean-up."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import CalibrationDataError, NonFiniteError, RecipeError
from app.recipes.allocation import Pooled
from app.recipes.methods.magnitude import Magnitude
from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.methods.wanda import Wanda
from app.recipes.pattern import NM, Unstructured
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME, records
from tests.unit.workers.pruning import references
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

ROW = Unstructured(group="row")


@pytest.fixture
def make(family_directory):
    def build(family="llama", dtype=None, batch_size=2):
        adapter = adapt(load_model(family_directory(family), dtype))
        made = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(made, batch_size=batch_size, max_length=24))

    return build


def weights(adapter):
    return {matrix.name: matrix.weight.clone() for matrix in adapter.matrices}


def clean(model):
    return not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
        for module in model.modules()
    )


def real_inputs(adapter, batches, matrix):
    """Inputs of one matrix in the model's own forward, padding left out: (tokens, in)."""
    seen = []
    for batch in batches:
        real = batch["attention_mask"].bool()
        (caller,) = matrix.callers
        handle = caller.register_forward_pre_hook(
            lambda _m, args, real=real: seen.append(args[0][real])
        )
        with torch.no_grad():
            adapter.forward(batch)
        handle.remove()
    return torch.cat(seen).double().numpy()


@pytest.mark.parametrize("sequential", [True, False])
def test_wanda_sees_what_the_model_itself_computes(make, sequential):
    adapter, batches = make()
    reference, _ = make()
    recipe = Recipe(importance=Wanda(sequential=sequential), pattern=ROW, sparsity=0.5)
    prune(adapter, recipe, batches)
    expected = {}
    for block in reference.towers[0].blocks:
        for matrix in block.matrices:
            inputs = real_inputs(reference, batches, matrix)
            expected[matrix.name] = references.wanda(matrix.weight.numpy(), inputs, 0.5, "row")
        if sequential:
            for matrix in block.matrices:
                matrix.weight.copy_(torch.from_numpy(expected[matrix.name]))
    for name, weight in weights(adapter).items():
        assert np.array_equal(weight.numpy(), expected[name].astype(np.float32)), name


@pytest.mark.parametrize("importance", [Wanda(), SparseGPT()])
def test_batches_and_padding_do_not_matter(make, importance):
    recipe = Recipe(importance=importance, sparsity=0.5)
    results = []
    for batch_size in (1, 5):
        adapter, batches = make(batch_size=batch_size)
        prune(adapter, recipe, batches)
        results.append(weights(adapter))
    for name, weight in results[0].items():
        assert ((weight == 0) == (results[1][name] == 0)).float().mean() > 0.99, name


@pytest.mark.parametrize("importance", [Magnitude(), Wanda(), SparseGPT()])
def test_the_same_run_twice_is_bit_identical(make, importance):
    recipe = Recipe(importance=importance, sparsity=0.6)
    results = []
    for _ in range(2):
        adapter, batches = make()
        report = prune(adapter, recipe, batches)
        results.append((weights(adapter), report))
    assert all(torch.equal(weight, results[1][0][name]) for name, weight in results[0][0].items())
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("importance", [Magnitude(), Wanda(), SparseGPT()])
def test_half_precision_is_kept(family_directory, tmp_path, importance, dtype):
    directory = shutil.copytree(family_directory("llama"), tmp_path / "half")
    for file in directory.glob("*.safetensors"):
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        save_file(tensors, file, {"format": "pt"})
    adapter = adapt(load_model(directory))
    made = records(BY_NAME["llama"].kind)
    batches = list(adapter.batches(made, batch_size=2, max_length=24))
    report = prune(adapter, Recipe(importance=importance, sparsity=0.5), batches)
    assert all(m.zeros == m.asked for m in report.matrices)
    assert all(weight.dtype == dtype for weight in weights(adapter).values())


@pytest.mark.parametrize("importance", [Magnitude(), Wanda(), Wanda(sequential=False), SparseGPT()])
@pytest.mark.parametrize("pool", ["global", "modality"])
def test_pools_end_at_the_target_to_the_weight(make, importance, pool):
    adapter, batches = make("llava")
    recipe = Recipe(importance=importance, allocation=Pooled(pool=pool), sparsity=0.37)
    report = prune(adapter, recipe, batches)
    pools = [report.model] if pool == "global" else report.modalities.values()
    for tally in pools:
        assert tally.zeros == tally.asked == int(0.37 * tally.weights)
    assert len({round(m.sparsity, 3) for m in report.matrices}) > 2


def test_magnitude_pooled_globally_is_one_threshold(make):
    adapter, _ = make("llava")
    before = torch.cat([weight.flatten() for weight in weights(adapter).values()]).abs()
    prune(adapter, Recipe(allocation=Pooled(), sparsity=0.5))
    after = torch.cat([weight.flatten() for weight in weights(adapter).values()])
    assert before[after == 0].max() <= before[after != 0].min()


def test_sparsity_per_modality(make):
    adapter, batches = make("llava")
    kept = weights(adapter)
    report = prune(adapter, Recipe(importance=Wanda(), sparsity={"language": 0.25}), batches)
    assert set(report.modalities) == {"language"}
    for matrix in adapter.matrices:
        share = (matrix.weight == 0).float().mean()
        if matrix.modality == "language":
            assert share == 0.25
        else:
            assert torch.equal(matrix.weight, kept[matrix.name])


def test_report_adds_up_and_progress_is_told_block_by_block(make):
    adapter, batches = make("llava")
    told = []
    report = prune(adapter, Recipe(importance=Wanda(), sparsity=0.7), batches, told.append)
    blocks = [block.name for tower in adapter.towers for block in tower.blocks]
    assert [p.block for p in told] == list(report.blocks) == blocks
    assert [(p.done, p.total) for p in told] == [(i + 1, len(blocks)) for i in range(len(blocks))]
    assert {p.phase for p in told} == {"pruning"}
    assert sum(t.zeros for t in report.blocks.values()) == report.model.zeros
    assert sum(t.weights for t in report.modalities.values()) == report.model.weights
    assert any("above 60% sparsity" in text for text in report.warnings)
    assert told[0].warnings == report.warnings
    assert all(0 < m.lost_score < 0.7 and m.mean_score > 0 for m in report.matrices)


class CancelledError(Exception):
    pass


@pytest.mark.parametrize("importance", [Magnitude(), Wanda(), Wanda(sequential=False)])
def test_a_report_that_raises_ends_the_run_and_leaves_no_trace(make, importance):
    adapter, batches = make()
    adapter.model.train()
    adapter.model.model.layers[0].eval()
    modes = [module.training for module in adapter.model.modules()]

    def cancel(_progress):
        raise CancelledError

    with pytest.raises(CancelledError):
        prune(adapter, Recipe(importance=importance, sparsity=0.5), batches, cancel)
    assert clean(adapter.model)
    assert [module.training for module in adapter.model.modules()] == modes


def test_an_error_inside_a_block_leaves_no_hook(make):
    adapter, batches = make()

    def broken(_x):
        raise RuntimeError("broken block")

    act = adapter.model.model.layers[1].mlp.act_fn
    act.forward = broken
    with pytest.raises(RuntimeError, match="broken block"):
        prune(adapter, Recipe(importance=Wanda(), sparsity=0.5), batches)
    del act.forward
    assert clean(adapter.model)


def test_non_finite_values_fail_by_name(make):
    adapter, batches = make()
    matrix = adapter.towers[0].blocks[1].matrices[2]
    matrix.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=matrix.name):
        prune(adapter, Recipe(sparsity=0.5))
    matrix.weight[0, 0] = 0
    adapter.model.model.layers[1].input_layernorm.weight.data[3] = float("inf")
    with pytest.raises(NonFiniteError, match=r"inputs of model\.layers\.1\.self_attn\.q_proj"):
        prune(adapter, Recipe(importance=Wanda(), sparsity=0.5), batches)
    assert clean(adapter.model)


@pytest.mark.parametrize("pattern", [Unstructured(), ROW, NM(n=2, m=4)], ids=str)
@pytest.mark.parametrize("importance", [Wanda(), Wanda(sequential=False), SparseGPT()])
def test_scores_that_overflow_fail_by_name_and_change_nothing(make, importance, pattern):
    adapter, batches = make()
    matrix = adapter.towers[0].blocks[0].matrices[0]
    matrix.weight[1, 1] = 3e38
    norm = adapter.model.model.layers[0].input_layernorm.weight.data
    norm[1] = 1e3
    before = matrix.weight.clone()
    watched = [m for m in adapter.matrices if m.name.endswith("layers.0.self_attn.q_proj")]
    assert watched == [matrix]
    recipe = Recipe(importance=importance, pattern=pattern, sparsity=0.5, targets=(matrix.name,))
    with pytest.raises(NonFiniteError, match=rf"{matrix.name}: a score"):
        prune(adapter, recipe, batches)
    assert torch.equal(matrix.weight, before)
    pooled = Recipe(
        importance=importance, allocation=Pooled(), sparsity=0.5, targets=(matrix.name,)
    )
    with pytest.raises(NonFiniteError, match=rf"{matrix.name}: a score"):
        prune(adapter, pooled, batches)
    assert torch.equal(matrix.weight, before)


def test_equal_scores_and_emptied_matrices_are_told(make):
    adapter, _ = make()
    first, second = adapter.towers[0].blocks[0].matrices[:2]
    first.weight.fill_(0.5)
    second.weight.mul_(1e-6)
    report = prune(adapter, Recipe(allocation=Pooled(), sparsity=0.5))
    assert any(text.startswith(f"{first.name}: all scores are equal") for text in report.warnings)
    assert any(f"all weights of {second.name} went" in text for text in report.warnings)


def test_a_matrix_without_data_goes_by_magnitude_and_says_so(make):
    adapter, batches = make()
    layer = adapter.model.model.layers[0]
    unused = layer.mlp.gate_proj
    layer.mlp.forward = lambda x: layer.mlp.down_proj(layer.mlp.up_proj(x))  # gate never runs
    before = unused.weight.detach().abs()
    report = prune(adapter, Recipe(importance=Wanda(), sparsity=0.5), batches)
    assert any("gate_proj saw no calibration data" in text for text in report.warnings)
    zeros = unused.weight == 0
    assert before[zeros].max() <= before[~zeros].min()


def test_targets_and_ignore_choose_by_name(make):
    adapter, _ = make()
    recipe = Recipe(sparsity=0.5, targets=("*self_attn*",), ignore=("*q_proj", "*layers.1.*"))
    report = prune(adapter, recipe)
    assert [m.module for m in report.matrices] == [
        f"model.layers.0.self_attn.{x}_proj" for x in "kvo"
    ]


def test_names_that_are_printed_are_patterns_and_what_is_never_pruned_may_be_ignored(
    family_directory,
):
    adapter = adapt(load_model(family_directory("gpt2")), split_qkv=True)
    names = tuple(m.name for m in adapter.matrices if m.name.endswith("[k]"))
    report = prune(
        adapter, Recipe(sparsity=0.5, split_qkv=True, targets=names, ignore=("lm_head",))
    )
    assert tuple(m.module for m in report.matrices) == names


def test_an_ignored_name_that_is_not_there_is_told_where_it_is_allowed(make):
    adapter, _ = make()
    report = prune(adapter, Recipe(sparsity=0.5, ignore=("*q_prj",), allow_unmatched=True))
    assert "ignore: '*q_prj' matches no module." in report.warnings


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        (Recipe(sparsity=0.5, targets=("nothing",)), RecipeError, "'nothing' matches no matrix"),
        (Recipe(sparsity=0.5, targets=("*", "re:no")), RecipeError, "'re:no' matches no matrix"),
        (Recipe(sparsity=0.5, ignore=("*q_prj",)), RecipeError, "matches no module"),
        (Recipe(sparsity=0.5, ignore=("model.layers.0",)), RecipeError, "matches no module"),
        (Recipe(sparsity={"vision": 0.5}), RecipeError, "no matrix matches"),
        (Recipe(sparsity=0.2, pattern=NM(n=4, m=5)), RecipeError, "q_proj: 4:5 needs an input"),
        (Recipe(sparsity=0.5, importance=Wanda()), CalibrationDataError, "wanda needs"),
    ],
)
def test_refusals_name_the_cause_and_change_nothing(make, recipe, error, words):
    adapter, _ = make()
    before = weights(adapter)
    with pytest.raises(error, match=words):
        prune(adapter, recipe)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(adapter).items())


@pytest.mark.parametrize("scope", ["row", "matrix", "modality", "global"])
def test_magnitude_scopes_prune_the_smallest_of_each_scope(make, scope):
    adapter, _ = make("llava")
    before = {name: weight.abs() for name, weight in weights(adapter).items()}
    prune(adapter, build_recipe("magnitude", {"scope": scope}, "unstructured", sparsity=0.5))
    pools = {}
    for matrix in adapter.matrices:
        for index, (old, new) in enumerate(zip(before[matrix.name], matrix.weight, strict=True)):
            key = {"row": (matrix, index), "matrix": matrix, "modality": matrix.modality}
            pools.setdefault(key.get(scope), []).append((old, new == 0))
    for pool in pools.values():
        old, gone = (torch.cat(part) for part in zip(*pool, strict=True))
        assert int(gone.sum()) == len(old) // 2
        assert old[gone].max() <= old[~gone].min()
