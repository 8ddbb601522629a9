"""Packed experts: what is reached, what they compute, what they see, what is written back."""

import functools
import weakref
from collections import defaultdict

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import MixtralConfig, MixtralForCausalLM

from app.recipes.recipe import Recipe, build_recipe
from tests.models_of_experts import TEXT, tiny
from tests.tiny_models import records, save, stored_as, tokenizer
from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.calibration.statistics import Calibration, Hessian, SquareSum
from workers.pruning.calibration.walk import steps
from workers.pruning.engine import stage
from workers.pruning.engine.prune import prune
from workers.pruning.engine.targets import find_targets
from workers.pruning.memory import Memory, stored
from workers.pruning.models.conversions import Assembled
from workers.pruning.models.export import copy_checkpoint, export_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

EVERY = pytest.mark.parametrize("name", sorted(TEXT))


@pytest.fixture(scope="module")
def dense(experts_directory):
    """The named model, loaded once; tests leave it as it was."""
    return functools.cache(lambda name: adapt(load_model(experts_directory(name))))


@pytest.fixture(scope="module")
def theirs(dense, experts_directory):
    """The same as `plain` loads it, loaded once."""
    return functools.cache(lambda name: plain(type(dense(name).model), experts_directory(name)))


def plain(model_class, directory):
    """A model as transformers loads it, its experts computed by their own code."""
    model = model_class.from_pretrained(directory, dtype=torch.float32)
    if model.get_experts_implementation()[""] and model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    return model.eval()


def batches_of(adapter):
    return list(adapter.batches(records("text"), batch_size=3, max_length=24))


@EVERY
def test_nearly_all_weights_of_blocks_are_reached(name, dense):
    adapter = dense(name)
    modules = [block.module for tower in adapter.towers for block in tower.blocks]
    every = sum(p.numel() for module in modules for p in module.parameters())
    reached = sum(m.numel for m in find_targets(adapter.towers, Recipe(sparsity=0.5)).blocks)
    assert reached >= 0.9 * every
    assert len({m.name for m in adapter.matrices}) == len(adapter.matrices)


@EVERY
def test_the_model_computes_what_transformers_computes(name, dense, theirs):
    adapter, model = dense(name), theirs(name)
    with torch.no_grad():
        for batch in batches_of(adapter):
            mine, other = adapter.call(batch), model(**batch, use_cache=False)
            torch.testing.assert_close(mine.logits, other.logits, rtol=1e-4, atol=1e-6)


class _Products(TorchFunctionMode):
    """Every product of a matrix of the model with something: (weight, input)."""

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is functional.linear:
            self._seen(args[1], args[0])
        elif func in (torch.Tensor.matmul, torch.Tensor.__matmul__, torch.matmul):
            if args[1].ndim == 2:
                self._seen(args[1].T, args[0])
        elif func is torch.bmm:
            for weight, states in zip(args[1], args[0], strict=True):
                self._seen(weight.T, states)
        return func(*args, **(kwargs or {}))


def seen_by(name, dense, theirs, batches):
    """Sums of squares of what each matrix of an expert is multiplied with in the plain model."""
    adapter, model = dense(name), theirs(name)
    parameters = dict(model.named_parameters())
    owners = {stored(p): n for n, p in adapter.model.named_parameters()}
    starts = {
        matrix.part_of(parameters[owners[matrix.parameter]].detach()).data_ptr(): matrix.name
        for matrix in adapter.matrices
        if matrix.routed
    }
    sums = defaultdict(float)

    def see(weight, states):
        rows = (0, 1, len(weight) // 2)  # gate and up begin in the first rows, or halfway
        for row in {row for row in rows if row < len(weight)}:
            if (found := starts.get(weight[row].data_ptr())) is not None:
                sums[found] = sums[found] + states.detach().double().square().sum(0)

    with torch.no_grad(), _Products(see):
        for batch in batches:
            model(**batch, use_cache=False)
    return sums


@EVERY
def test_statistics_are_those_of_the_tokens_that_an_expert_sees(name, dense, theirs):
    """Against the products that the module's own code makes in a model that nobody watches."""
    adapter = dense(name)
    # Batches of one, so that nothing is padded.
    batches = list(adapter.batches(records("text"), batch_size=1, max_length=24))
    expected = seen_by(name, dense, theirs, batches)
    calibration = Calibration(SquareSum)
    with torch.no_grad():
        for step in steps(adapter, batches, last=adapter.towers[-1].blocks[-1]):
            step.advance(calibration, step.block.matrices)
    matrices = [m for m in adapter.matrices if m.name in expected]
    assert len(matrices) > 4
    for matrix in matrices:
        found = calibration.of(matrix)
        torch.testing.assert_close(found.total, expected[matrix.name], rtol=1e-4, atol=1e-9)
        assert found.samples == len(batches)


def test_padding_is_not_routed_into_statistics(dense):
    adapter = dense("mixtral")
    found = []
    for size in (1, 5):
        calibration = Calibration(Hessian)
        batches = list(adapter.batches(records("text"), batch_size=size, max_length=24))
        with torch.no_grad():
            for step in steps(adapter, batches, last=adapter.towers[-1].blocks[0]):
                step.collect(calibration, step.block.matrices)
        found.append([calibration.of(m) for m in adapter.towers[-1].blocks[0].matrices])
    for alone, together in zip(*found, strict=True):
        torch.testing.assert_close(alone.total, together.total, rtol=1e-4, atol=1e-8)
        assert alone.tokens == together.tokens
        assert alone.samples == together.samples


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "llama4", "dbrx", "nemotron_h"])
def test_gradients_are_those_of_the_plain_model(name, experts_directory):
    adapter = adapt(load_model(experts_directory(name)))
    model = plain(type(adapter.model), experts_directory(name))
    batch = batches_of(adapter)[0]
    got = {}
    each_gradient(adapter, batch, adapter.matrices, lambda m, g: got.update({m: g.clone()}))
    adapter.model, mine = model, adapter.model
    model.requires_grad_(True)
    adapter.loss(batch).backward()
    names = dict(model.named_parameters())
    owners = {stored(p): n for n, p in mine.named_parameters()}
    for matrix in adapter.matrices:
        expected = matrix.part_of(names[owners[matrix.parameter]].grad)
        torch.testing.assert_close(got[matrix], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "llama4", "dbrx", "granitemoe"])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_what_is_pruned_is_what_a_plain_load_computes(name, method, experts_directory, tmp_path):
    directory = experts_directory(name)
    adapter = adapt(load_model(directory))
    recipe = build_recipe(method, {}, "2:4", sparsity=0.5)
    report = prune(adapter, recipe, batches_of(adapter))
    assert report.model.sparsity == 0.5
    for matrix in find_targets(adapter.towers, recipe).blocks:
        groups = (matrix.weight != 0).reshape(len(matrix.weight), -1, 4).sum(-1)
        assert int(groups.max()) <= 2, matrix.name
    export_checkpoint(directory, tmp_path, adapter.matrices)
    again = plain(type(adapter.model), tmp_path)
    with torch.no_grad():
        for batch in batches_of(adapter):
            expected = again(**batch, use_cache=False).logits
            torch.testing.assert_close(adapter.call(batch).logits, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_blocks_from_disk_give_the_same_bits_as_in_memory(name, dtype, experts_directory, tmp_path):
    source = stored_as(experts_directory(name), tmp_path / "source", dtype)
    recipe = build_recipe("sparsegpt", {}, "unstructured", sparsity=0.5)
    files = []
    for on_disk in (False, True):
        target = tmp_path / f"{on_disk}"
        copy_checkpoint(source, target)
        memory = Memory(target) if on_disk else Memory()
        adapter = adapt(load_model(source, memory=memory))
        prune(adapter, recipe, batches_of(adapter))
        write_back(target, adapter.matrices, memory)
        files.append((target / "model.safetensors").read_bytes())
    assert files[0] == files[1]
    assert files[0] != (source / "model.safetensors").read_bytes()


def test_experts_that_few_tokens_reach_are_named_and_ranked_by_magnitude(experts_directory):
    directory = experts_directory("mixtral")
    adapter = adapt(load_model(directory))
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5, expert_tokens=10**6)
    report = prune(adapter, recipe, batches_of(adapter))
    told = [text for text in report.warnings if "calibration tokens" in text]
    assert len(told) == 2  # one a block
    assert "model.layers.0.mlp.experts: 4 of 4 experts saw fewer than 1000000" in told[0]
    other = adapt(load_model(directory))
    prune(other, build_recipe("magnitude", {}, "unstructured", sparsity=0.5))
    by_row = adapt(load_model(directory))
    prune(by_row, recipe.model_copy(update={"importance": Recipe(sparsity=0.5).importance}))
    for mine, theirs in zip(adapter.matrices, by_row.matrices, strict=True):
        if mine.routed:
            assert torch.equal(mine.weight, theirs.weight)


def test_experts_without_a_gradient_are_named_and_ranked_by_magnitude(experts_directory):
    adapter = adapt(load_model(experts_directory("gpt_oss")))
    batches = list(adapter.batches(records("text", 1), batch_size=1, max_length=3))
    recipe = build_recipe("snip", {}, "unstructured", sparsity=0.5)
    report = prune(adapter, recipe, batches)
    told = [text for text in report.warnings if "calibration tokens" in text]
    assert told
    assert all("ranked by magnitude" in text and "(0)" in text for text in told)
    assert not any(".experts." in text for text in report.warnings if "does not depend" in text)
    assert report.difference == 0


@pytest.mark.parametrize("method", ["sparsegpt", "wanda"])
def test_experts_watched_in_parts_give_the_same_bits(method, experts_directory, monkeypatch):
    found = []
    for room in (1 << 30, 1):
        monkeypatch.setattr(stage, "TOGETHER", room)
        adapter = adapt(load_model(experts_directory("mixtral")))
        recipe = build_recipe(method, {}, "unstructured", sparsity=0.5, expert_tokens=8)
        report = prune(adapter, recipe, batches_of(adapter))
        found.append((report, [m.weight.clone() for m in adapter.matrices]))
    (whole, expected), (parts, weights) = found
    assert parts.matrices == whole.matrices
    assert parts.warnings == whole.warnings
    assert all(map(torch.equal, weights, expected))


def test_experts_that_saw_enough_are_not_named(experts_directory):
    adapter = adapt(load_model(experts_directory("mixtral")))
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5, expert_tokens=1)
    report = prune(adapter, recipe, batches_of(adapter))
    assert not any("calibration tokens" in text for text in report.warnings)


@pytest.mark.parametrize("name", ["dbrx", "hunyuan_v1_moe", "deepseek_v32", "phimoe"])
def test_routers_are_pruned_where_a_target_names_them(name, dense):
    adapter = dense(name)

    def steering(*targets):
        found = find_targets(adapter.towers, Recipe(sparsity=0.5, targets=targets)).blocks
        words = ("router", ".gate", "indexer")
        names = {m.name.replace("gate_proj", "") for m in found}
        return {name for name in names if any(word in name for word in words)}

    assert not steering("*")
    assert steering("*", "*router*", "*.gate*", "*indexer*")


def test_weights_are_views_of_the_files_and_nothing_is_copied(experts_directory):
    """Experts that lie apart in the files are put together when a block reads them."""
    adapter = adapt(load_model(experts_directory("mixtral")))
    routed = [m for m in adapter.matrices if m.routed]
    assert all(m.source is not None for m in routed)
    before = adapter.call(batches_of(adapter)[0]).logits
    routed[0].weight.zero_()
    after = adapter.call(batches_of(adapter)[0]).logits
    assert not torch.equal(before, after)


def test_experts_of_one_block_are_in_memory_at_a_time(tmp_path, monkeypatch):
    """What is put together and still alive never exceeds a block, of the eight that there are."""
    source, target = tmp_path / "source", tmp_path / "target"
    config = tiny(MixtralConfig, num_hidden_layers=8, hidden_size=64, intermediate_size=128)
    save(source, MixtralForCausalLM, config, tokenizer())
    copy_checkpoint(source, target)
    alive, most = {}, 0
    read = Assembled.read

    def counted(weight, dtype):
        nonlocal most
        made = read(weight, dtype)
        storage = made.untyped_storage()
        alive[id(storage)] = made.nbytes
        weakref.finalize(made, alive.pop, id(storage), None)
        most = max(most, sum(alive.values()))
        return made

    monkeypatch.setattr(Assembled, "read", counted)
    adapter = adapt(load_model(source, memory=Memory(target)))
    prune(adapter, build_recipe("wanda", {}, "unstructured", sparsity=0.5), batches_of(adapter))
    blocks = [
        sum(m.weight.nbytes for m in block.matrices if m.routed)
        for tower in adapter.towers
        for block in tower.blocks
    ]
    assert 0 < most <= max(blocks)
    assert max(blocks) * 7 < sum(blocks)
