"""Estimators against plain computations, for every family that has a loss."""

import pytest
import torch

from app.errors import AllocationScoreError, CalibrationDataError, NonFiniteError
from app.recipes.allocation import FirstOrder, GradientNorm, ZerothOrder
from tests.families import BY_NAME, records
from workers.pruning.allocation.ecoflap import measure
from workers.pruning.allocation.ecoflap.perturbation import noise
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(BY_NAME))
STEP = 0.1  # larger than the default: differences rise above the rounding of float32 losses


@pytest.fixture(scope="module")
def prepared(family_directory):
    """A family's adapter in evaluation mode, and its batches."""
    made = {}

    def prepare(family, **options):
        key = family, *options.items()
        if key not in made:
            adapter = adapt(load_model(family_directory(family)), **options)
            adapter.model.eval()
            rows = records(BY_NAME[family].kind)
            batches = list(adapter.batches(rows, batch_size=3, max_length=24))
            made[key] = adapter, [batch for batch in batches if len(next(iter(batch.values()))) > 1]
        return made[key]

    return prepare


def some(matrices, count=6):
    """A few matrices from all over the model."""
    return list(matrices)[:: max(1, len(matrices) // count)]


def shaken_losses(adapter, batch, matrix, draw):
    """The loss with the weights overwritten, as the official code does it."""
    weight = matrix.parameter.detach()
    kept, z = weight.clone(), noise(0, matrix, 0, draw)
    for sign in (1, -1):
        matrix.part_of(weight).add_(z, alpha=sign * STEP)
        with torch.no_grad():
            yield float(adapter.loss(batch))
        weight.copy_(kept)


@EVERY_FAMILY
def test_zeroth_order_equals_the_loop_that_overwrites_weights(family, prepared):
    adapter, batches = prepared(family)
    batch, matrices = batches[0], some(adapter.matrices)
    settings = ZerothOrder(draws=2, epsilon=STEP)
    scores = measure(adapter, settings, [(0, batch)], matrices)
    for matrix in matrices:
        expected = 0.0
        for draw in range(2):
            plus, minus = shaken_losses(adapter, batch, matrix, draw)
            expected += abs(plus - minus) / (2 * STEP) / 2
        got = 0.0 if matrix.name in scores.outside else scores.values[matrix.name][0]
        assert got == pytest.approx(expected, rel=2e-3, abs=5e-5), matrix.name


@EVERY_FAMILY
def test_backward_estimators_equal_plain_gradients(family, prepared):
    adapter, batches = prepared(family)
    adapter.model.zero_grad()
    adapter.loss(batches[0]).backward()
    gradients = {
        m: m.part_of(m.parameter.grad) for m in adapter.matrices if m.parameter.grad is not None
    }
    expected = {
        GradientNorm(): lambda w, g: g.norm(),
        FirstOrder(): lambda w, g: (w * g).abs().sum(),
        FirstOrder(form="squared"): lambda w, g: (w * g).square().sum(),
        FirstOrder(form="gradient"): lambda w, g: g.abs().sum(),
    }
    for settings, reduce in expected.items():
        scores = measure(adapter, settings, [(0, batches[0])], adapter.matrices)
        for matrix in adapter.matrices:
            if matrix.name in scores.outside:
                assert matrix not in gradients or not gradients[matrix].any()
                continue
            value = float(reduce(matrix.weight, gradients[matrix]))
            assert scores.values[matrix.name][0] == pytest.approx(value, rel=1e-4, abs=1e-7)
    adapter.model.zero_grad()


@pytest.mark.parametrize("family", ["llava", "clip", "blip_vqa", "t5"])
def test_both_ways_find_the_same_matrices_outside_the_loss(family, prepared):
    adapter, batches = prepared(family)
    outside = {
        kind: set(measure(adapter, kind, enumerate(batches[:1]), adapter.matrices).outside)
        for kind in (GradientNorm(), ZerothOrder())
    }
    assert outside[GradientNorm()] <= outside[ZerothOrder()]
    if family == "llava":  # it reads the vision tower before its last block
        assert {name.rsplit("layers.", 1)[1][0] for name in outside[GradientNorm()]} == {"2"}


@pytest.mark.parametrize("settings", [ZerothOrder(draws=3), GradientNorm(), FirstOrder()])
@pytest.mark.parametrize("family", ["llava", "bert", "siglip"])
def test_parts_measured_in_any_order_merge_into_the_whole(family, settings, prepared):
    adapter, batches = prepared(family)
    batches, matrices = [*batches, batches[0]], some(adapter.matrices, 8)
    whole = measure(adapter, settings, enumerate(batches), matrices, seed=3)
    shuffled = [(i, batches[i]) for i in reversed(range(len(batches)))]
    assert measure(adapter, settings, shuffled, matrices, seed=3) == whole
    first = measure(adapter, settings, shuffled[1:], matrices, seed=3)
    second = measure(adapter, settings, shuffled[:1], matrices, seed=3)
    assert second.merged(first) == first.merged(second) == whole
    left = measure(adapter, settings, enumerate(batches), matrices[:3], seed=3)
    right = measure(adapter, settings, enumerate(batches), matrices[3:], seed=3)
    assert right.merged(left) == whole
    with pytest.raises(AllocationScoreError, match="parts of a run"):
        first.merged(first.model_copy(update={"batches": (0, 9)}))
    other = measure(adapter, settings, shuffled[:1], matrices, seed=4)
    if isinstance(settings, ZerothOrder):
        assert other.values != second.values
    with pytest.raises(AllocationScoreError, match="seeds"):
        first.merged(other)


@pytest.mark.parametrize("family", ["llama", "siglip", "gpt2"])
@pytest.mark.parametrize("settings", [ZerothOrder(draws=2), GradientNorm(), FirstOrder()])
def test_weights_in_half_precision_are_not_touched(family, settings, family_directory):
    adapter = adapt(load_model(family_directory(family)), split_qkv=True)
    adapter.model.to(torch.bfloat16).eval()
    batch = next(adapter.batches(records(BY_NAME[family].kind), batch_size=3, max_length=24))
    before = {name: p.clone() for name, p in adapter.model.named_parameters()}
    held = dict(adapter.model.named_parameters())
    scores = measure(adapter, settings, [(0, batch)], adapter.matrices)
    assert scores.values
    for name, parameter in adapter.model.named_parameters():
        assert parameter is held[name]
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter.view(torch.int16), before[name].view(torch.int16)), name
    assert all("forward" not in module.__dict__ for module in adapter.model.modules())


def test_nothing_stays_after_an_interruption(prepared):
    adapter, batches = prepared("clip")

    def stop(batch, matrix):
        raise InterruptedError

    for settings in (ZerothOrder(), GradientNorm()):
        with pytest.raises(InterruptedError):
            measure(adapter, settings, enumerate(batches), adapter.matrices, tick=stop)
        assert all("forward" not in module.__dict__ for module in adapter.model.modules())
        assert all(p.requires_grad for p in adapter.model.parameters())


def test_no_data_and_no_number_are_refused(prepared):
    adapter, batches = prepared("llama")
    with pytest.raises(CalibrationDataError):
        measure(adapter, GradientNorm(), [], adapter.matrices)
    weight = adapter.matrices[0].parameter.detach()
    kept = weight.clone()
    weight[0, 0] = torch.nan
    for settings in (GradientNorm(), ZerothOrder()):
        with pytest.raises(NonFiniteError, match="loss"):
            measure(adapter, settings, enumerate(batches), adapter.matrices)
    weight.copy_(kept)


def test_draws_depend_on_seed_matrix_batch_and_draw_alone(prepared):
    one, other = prepared("llama")[0].matrices[:2]
    draws = [noise(0, one, 0, 0), noise(1, one, 0, 0), noise(0, one, 1, 0), noise(0, one, 0, 1)]
    assert torch.equal(draws[0], noise(0, one, 0, 0))
    assert all(not torch.equal(draws[0], z) for z in draws[1:])
    assert not torch.equal(draws[0][:4, :4], noise(0, other, 0, 0)[:4, :4])
    many = torch.cat([noise(seed, one, 0, 0).flatten() for seed in range(40)])
    assert abs(float(many.mean())) < 0.03
    assert float(many.std()) == pytest.approx(1, abs=0.03)
