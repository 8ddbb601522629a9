"""MULTIFLOW: the worked case, a plain float64 restatement, and what must not change a result."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.methods.multiflow import Flow
from app.recipes.modality import Modality
from app.recipes.pattern import Unstructured
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME, records
from tests.unit.workers.pruning.references import lowest
from workers.pruning.calibration.statistics import SquareSum
from workers.pruning.engine.prune import prune
from workers.pruning.importance import find_criterion
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.selection.selection import Selection

WEIGHT = [[0.5, -1, 0.25, 2], [-0.75, 0.1, 1.5, -0.3], [0.9, -0.2, -0.05, 0.6]]
BATCHES = [
    [[[1, 0, 2, -1], [0.5, 1, 0, 2]]],
    [[[0, -2, 1, 1], [1, 1, -1, 0.5]], [[2, 0, 0, 1], [-1, 1, 1, 0]]],
]
SCORES = [
    [0.80714226, 0.95910245, 0.33199698, 4.3548136],
    [0.85152316, 0.06745593, 1.4010074, 0.45942637],
    [0.6802587, 0.08981451, 0.03108964, 0.6117055],
]
KEPT = {
    0.5: [[1, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0]],
    0.75: [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]],
}
OF_IMAGES = ("crossattention.self.key", "crossattention.self.value")  # in text blocks
FLOW = find_criterion(Recipe(importance=Flow(), sparsity=0.5))


def statistic_of(batches):
    found = SquareSum(len(batches[0][0][0]), torch.device("cpu"))
    for batch in batches:
        tokens = torch.as_tensor(batch, dtype=torch.float32)
        found.add(tokens.flatten(0, 1), len(tokens))
    return found


def flow(weight, mean):
    """S of the paper, float64 numpy."""
    magnitude, a = np.abs(np.float64(weight)), np.sqrt(np.float64(mean))
    rows, columns = magnitude.shape
    return magnitude * (magnitude @ a / columns)[:, None] * (a * magnitude.sum(0) / rows)


def gone(weight, statistic, count):
    scores = FLOW.scores(weight, FLOW.digest(statistic))
    return Selection(Unstructured(), count).mask(scores).numpy()


def test_the_worked_case():
    statistic = statistic_of(BATCHES)
    assert statistic.mean.numpy() == pytest.approx([2.416667, 2.333333, 2.333333, 2.416667])
    assert flow(WEIGHT, statistic.mean.numpy()) == pytest.approx(np.array(SCORES), rel=1e-6)
    weight = torch.tensor(WEIGHT)
    scores = FLOW.scores(weight, FLOW.digest(statistic)).numpy()
    assert scores * (np.sum(SCORES) / scores.sum()) == pytest.approx(np.array(SCORES), rel=1e-6)
    for sparsity, kept in KEPT.items():
        assert (~gone(weight, statistic, int(12 * sparsity))).astype(int).tolist() == kept


@pytest.fixture
def make(family_directory):
    def build(family="llava", dtype=None, batch_size=2, change=lambda _loaded: None):
        loaded = load_model(family_directory(family), dtype)
        change(loaded)
        adapter = adapt(loaded)
        rows = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(rows, batch_size=batch_size, max_length=24))

    return build


def recipe(sparsity=0.63, **options):
    return build_recipe("multiflow", {}, "unstructured", sparsity=sparsity, **options)


def means(adapter, batches):
    """M of every matrix by hooks on the model's own forward, in float64."""
    sums, samples = {}, 0
    for batch in batches:
        samples += len(batch["input_ids"])
        real = batch["attention_mask"].bool()

        def see(matrix, inputs, real=real):
            if matrix.modality is not Modality.VISION and not matrix.name.endswith(OF_IMAGES):
                inputs = inputs[real]
            squares = inputs.double().square().flatten(0, -2).sum(0)
            sums[matrix] = sums.get(matrix, 0) + squares

        handles = [
            caller.register_forward_pre_hook(lambda _m, args, each=matrix: see(each, args[0]))
            for matrix in adapter.matrices
            for caller in matrix.callers
        ]
        with torch.no_grad():
            adapter.forward(batch)
        for handle in handles:
            handle.remove()
    return {matrix: each.numpy() / samples for matrix, each in sums.items()}


def expected(adapter, batches, sparsity):
    """Masks by the definition: pooled magnitudes sorted whole, flow per matrix."""
    masks = {}
    seen = means(adapter, batches)
    for modality in {matrix.modality for matrix in adapter.matrices}:
        pool = [m for m in adapter.matrices if m.modality is modality]
        sizes = [np.abs(m.weight.double().numpy()).ravel() for m in pool]
        smallest = lowest(np.concatenate(sizes), int(sparsity * sum(map(len, sizes))))
        counts = [part.sum() for part in np.split(smallest, np.cumsum([*map(len, sizes)])[:-1])]
        for matrix, count in zip(pool, counts, strict=True):
            masks[matrix.name] = lowest(flow(matrix.weight.double().numpy(), seen[matrix]), count)
    return masks


@pytest.mark.parametrize("family", ["llava", "blip_caption", "gpt2", "bert"])
@pytest.mark.parametrize("sparsity", [0.63, 0.9])
def test_masks_equal_a_restatement_in_float64(family, sparsity, make):
    adapter, batches = make(family)
    masks = expected(adapter, batches, sparsity)
    report = prune(adapter, recipe(sparsity), batches)
    for tally in report.modalities.values():
        assert tally.zeros == int(sparsity * tally.weights)
    for matrix in adapter.matrices:
        assert np.array_equal(matrix.weight.numpy() == 0, masks[matrix.name]), matrix.name


def tie(loaded):
    """The second block reads with the first block's query projection."""
    first, second = loaded.model.model.layers
    second.self_attn.q_proj.weight = first.self_attn.q_proj.weight


def test_a_tied_weight_is_scored_on_every_caller(make):
    adapter, batches = make("llama", change=tie)
    assert sum(len(matrix.callers) == 2 for matrix in adapter.matrices) == 1
    masks = expected(adapter, batches, 0.5)
    prune(adapter, recipe(0.5), batches)
    for matrix in adapter.matrices:
        assert np.array_equal(matrix.weight.numpy() == 0, masks[matrix.name]), matrix.name


@pytest.mark.parametrize(
    "rearranged",
    [
        {"batch_size": 1},  # no padding at all
        {"batch_size": 5},  # all in one batch, padded to the longest
    ],
)
def test_batches_do_not_matter(rearranged, make):
    adapter, batches = make()
    prune(adapter, recipe(), batches[::-1])
    other, regrouped = make(**rearranged)
    prune(other, recipe(), regrouped)
    for mine, theirs in zip(adapter.matrices, other.matrices, strict=True):
        differ = (mine.weight == 0) != (theirs.weight == 0)
        assert differ.float().mean() <= 0.01, mine.name  # forwards of other shapes round otherwise


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 2.0**-12])
def test_half_precision_does_not_underflow(dtype, scale):
    """|w| * O * I of such weights lies below 1e-12; float16 ends at 6e-8."""
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(24, 16, generator=generator) * 0.02 * scale).to(dtype)
    statistic = statistic_of([torch.randn(3, 9, 16, generator=generator) * 1e-3])
    wanted = lowest(flow(weight.double().numpy(), statistic.mean.numpy()), 192)
    assert np.array_equal(gone(weight, statistic, 192), wanted)


@given(seed=st.integers(0, 999), factor=st.floats(1e-6, 1e6), power=st.integers(-60, 60))
def test_scaling_the_activations_or_the_weights_changes_nothing(seed, factor, power):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(7, 5, generator=generator)
    tokens = torch.randn(2, 6, 5, generator=generator)
    mask = gone(weight, statistic_of([tokens]), 17)
    assert np.array_equal(gone(weight, statistic_of([tokens * factor]), 17), mask)
    assert np.array_equal(gone(weight * 2.0**power, statistic_of([tokens]), 17), mask)


@given(seed=st.integers(0, 999))
def test_renaming_neurons_renames_the_mask(seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(7, 5, generator=generator)
    tokens = torch.randn(2, 6, 5, generator=generator)
    rows, columns = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
    mask = gone(weight, statistic_of([tokens]), 17)
    moved = gone(weight[rows][:, columns], statistic_of([tokens[..., columns]]), 17)
    assert np.array_equal(moved, mask[rows][:, columns])


def test_a_matrix_of_zeros_or_without_input_scores_zero():
    statistic = statistic_of([torch.zeros(1, 2, 4)])
    assert not FLOW.scores(torch.ones(3, 4), FLOW.digest(statistic)).any()
    assert not FLOW.scores(torch.zeros(3, 4), FLOW.digest(statistic_of(BATCHES))).any()
