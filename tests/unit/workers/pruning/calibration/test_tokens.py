"""Tokens that count, chosen while a model is walked through."""

import pytest
import torch
from torch.nn import functional

from app.errors import CalibrationDataError
from app.recipes.recipe import build_recipe
from tests.families import BY_NAME, records
from workers.pruning.calibration.statistics import Calibration, Hessian, SquareSum, squares_of
from workers.pruning.calibration.tokens import (
    ChosenByOutputs,
    Stream,
    choose,
    most_changed,
    standing_for_all,
    stream_of,
)
from workers.pruning.calibration.walk import steps
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import settle
from workers.pruning.models.loading import load_model

STREAMS = ["llava", "qwen2_vl", "smolvlm"]


@pytest.fixture
def ready(family_directory):
    """Adapter and batches of a family, padding among the tokens."""

    def make(name):
        adapter = adapt(load_model(family_directory(name)))
        rows = records(BY_NAME[name].kind)
        return adapter, list(adapter.batches(rows, batch_size=3, max_length=24))

    return make


def walked(adapter, batches, tokens, calibration):
    """The blocks of the language tower with what the statistics of each saw."""
    tower = adapter.towers[-1]
    with torch.no_grad(), evaluating(adapter.model):
        for step in steps(adapter, batches, last=tower.blocks[-1]):
            if step.block in tower.blocks:
                choose(tokens, adapter.model.config, step)
                step.collect(calibration, step.block.matrices)
                yield step.block
                calibration.forget(step.block.matrices)


def recorded(adapter, batches):
    """Inputs and outputs of the language tower's blocks and layers in plain forwards."""
    settle(adapter.model)
    tower, found = adapter.towers[-1], {}

    def hook(name):
        def keep(_module, args, kwargs, output):
            inputs = args[0] if args else kwargs["hidden_states"]
            output = output if isinstance(output, torch.Tensor) else output[0]
            found.setdefault(name, []).append((inputs, output))

        return keep

    handles = []
    for block in tower.blocks:
        named = [(block.name, block.module), *((m.name, m.callers[0]) for m in block.matrices)]
        handles += [
            module.register_forward_hook(hook(name), with_kwargs=True) for name, module in named
        ]
    with torch.no_grad(), evaluating(adapter.model):
        for batch in batches:
            adapter.forward(batch)
    for handle in handles:
        handle.remove()
    return found


def attention_of_last(adapter, batches, index):
    """What the last real token attends to, by the model's own eager attention."""
    adapter.model.set_attn_implementation("eager")
    found = []
    with torch.no_grad(), evaluating(adapter.model):
        for batch in batches:
            weights = adapter.call(batch, output_attentions=True).attentions[index]
            last = batch["attention_mask"].sum(1) - 1
            found.append(weights[torch.arange(len(last)), :, last].mean(1))
    adapter.model.set_attn_implementation("sdpa")
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_atv_counts_all_text_and_the_image_tokens_that_change_most(name, ready):
    adapter, batches = ready(name)
    plain = recorded(*ready(name))
    streams = [stream_of(adapter.model.config, batch) for batch in batches]
    calibration = Calibration(SquareSum)
    for block in walked(adapter, batches, "atv", calibration):
        changes = [
            1 - functional.cosine_similarity(after, before, dim=-1)
            for before, after in plain[block.name]
        ]
        masks = most_changed(streams, changes)
        counts = [int(mask.sum()) for mask in masks]
        assert counts != [int(stream.real.sum()) for stream in streams]
        for matrix in block.matrices:
            expected = sum(
                (inputs[mask].double() ** 2).sum(0)
                for (inputs, _), mask in zip(plain[matrix.name], masks, strict=True)
            )
            torch.testing.assert_close(calibration.of(matrix).total, expected, rtol=1e-4, atol=1e-9)


def test_amia_chooses_for_every_matrix_by_what_it_gives(ready):
    adapter, batches = ready("llava")
    plain = recorded(*ready("llava"))
    streams = [stream_of(adapter.model.config, batch) for batch in batches]
    calibration = ChosenByOutputs(SquareSum)
    counts = set()
    for index, block in enumerate(walked(adapter, batches, "amia", calibration)):
        scores = attention_of_last(ready("llava")[0], batches, index)
        for matrix in block.matrices:
            expected, tokens = 0, 0
            for (inputs, outputs), stream, score in zip(
                plain[matrix.name], streams, scores, strict=True
            ):
                for row, real in enumerate(stream.real):
                    mask = standing_for_all(
                        outputs[row][real], score[row][real], stream.image[row][real]
                    )
                    expected = expected + (inputs[row][real][mask].double() ** 2).sum(0)
                    tokens += int(mask.sum())
            found = calibration.of(matrix)
            assert found.tokens == tokens
            torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-9)
            counts.add(tokens)
    assert len(counts) > 1, "matrices with one input choose apart"


@pytest.mark.parametrize("tokens", ["atv", "amia"])
def test_every_statistic_sees_the_same_tokens(tokens, ready):
    adapter, batches = ready("llava")
    kind = ChosenByOutputs if tokens == "amia" else Calibration
    squares, moments = kind(SquareSum), kind(Hessian)
    seen = {
        matrix.name: squares.of(matrix).total
        for block in walked(adapter, batches, tokens, squares)
        for matrix in block.matrices
    }
    for block in walked(adapter, batches, tokens, moments):
        for matrix in block.matrices:
            found = squares_of(moments.of(matrix)).total
            torch.testing.assert_close(found, seen[matrix.name], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "parameters", "tokens"),
    [
        ("atv", {}, "atv"),
        ("tamp", {"samples": 3}, "amia"),
        ("sparsegpt", {}, "amia"),
        ("recommended", {"samples": 3}, "atv"),
        ("multiflow", {}, "atv"),
    ],
)
def test_methods_prune_as_many_weights_and_others_than_on_all_tokens(
    method, parameters, tokens, ready
):
    def zeros(chosen):
        adapter, batches = ready("llava")
        recipe = build_recipe(method, parameters, "unstructured", sparsity=0.5)
        report = prune(adapter, recipe, batches, tokens=chosen)
        assert report.difference == 0
        return {matrix.name: matrix.fetch() == 0 for matrix in adapter.matrices}

    plain, found = zeros("all"), zeros(tokens)
    differing = {name for name in plain if not torch.equal(plain[name], found[name])}
    assert any("language" in name for name in differing)
    assert method in {"tamp", "recommended"} or all("language" in name for name in differing)


def test_a_model_without_a_stream_of_both_is_refused(ready):
    adapter, batches = ready("clip")
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5)
    with pytest.raises(CalibrationDataError, match="no such stream"):
        prune(adapter, recipe, batches, tokens="atv")
    dense = build_recipe("tamp", {}, "unstructured", sparsity=0.5)
    with pytest.raises(CalibrationDataError, match="no stream of both"):
        prune(adapter, dense, batches)


@pytest.mark.parametrize("tokens", ["atv", "amia"])
def test_a_decoder_that_reads_the_stream_beside_its_own_tokens_counts_all_of_these(tokens, ready):
    adapter, _ = ready("blip2_t5")
    batches = list(adapter.batches(records("pair"), batch_size=1, max_length=24))
    report = prune(
        adapter, build_recipe("wanda", {}, "unstructured", sparsity=0.5), batches, tokens=tokens
    )
    assert all(matrix.zeros == matrix.asked for matrix in report.matrices)


def test_padding_is_never_chosen():
    image = torch.tensor([[1, 1, 0, 0, 0]]).bool()
    text = torch.tensor([[0, 0, 1, 1, 0]]).bool()
    (mask,) = most_changed([Stream(image, text)], [torch.tensor([[0.1, 0.2, 0.3, 0.4, 9.0]])])
    assert mask.tolist() == [[False, False, True, True, False]]
    (mask,) = most_changed([Stream(image, text)], [torch.tensor([[0.1, 0.9, 0.3, 0.4, 9.0]])])
    assert mask.tolist() == [[False, True, True, True, False]]
