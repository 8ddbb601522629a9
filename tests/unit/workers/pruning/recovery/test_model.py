"""Training a whole model: nearer to what the dense one predicts, zeros kept, never worse."""

import pytest
import torch

from app.errors import RecipeError
from app.recipes.recipe import build_recipe
from app.recipes.recovery import Recovery
from tests.families import BY_NAME, records
from workers.pruning.calibration.outputs import learn_by_heart, lessons_of
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.recovery import training
from workers.pruning.recovery.model import recover_model
from workers.pruning.resume import Entry, NoCheckpoints

SETTINGS = Recovery(scope="model", steps=10)
UNREAD = "model.vision_tower.encoder.layers.2"  # LLaVA takes its features from the block before


class Kept:
    """Checkpoints in memory; `fails_at` puts, the run is cut off."""

    def __init__(self, fails_at=None):
        self.entries, self.left = {}, fails_at

    def get(self, name):
        return self.entries.get(name)

    def put(self, name, entry):
        tensors = {key: tensor.clone() for key, tensor in entry.tensors.items()}
        self.entries[name] = Entry(dict(entry.values), tensors)
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    def drop(self, name):
        self.entries.pop(name, None)


@pytest.fixture
def trained(family_directory):
    def run(family="llama", *, settings=SETTINGS, checkpoints=None, batch_size=2, sparsity=0.5):
        adapter = adapt(load_model(family_directory(family)))
        rows = records(BY_NAME[family].kind)
        batches = list(adapter.batches(rows, batch_size=batch_size, max_length=24))
        with evaluating(adapter.model):
            known = learn_by_heart(adapter, lessons_of(adapter, batches))
            recipe = build_recipe("magnitude", {}, "unstructured", sparsity=sparsity)
            prune(adapter, recipe, batches)
            zeros = [matrix.weight == 0 for matrix in adapter.matrices]
            found = recover_model(
                *(adapter, known, adapter.matrices, settings),
                tick=lambda: None,
                checkpoints=checkpoints or NoCheckpoints(),
            )
        for matrix, gone in zip(adapter.matrices, zeros, strict=True):
            assert torch.equal(matrix.weight == 0, gone), matrix.name
        return adapter, found

    return run


@pytest.mark.parametrize("family", ["llama", "llava", "clip", "bert", "t5", "vit"])
def test_predictions_come_nearer_and_zeros_stay(trained, family):
    _, found = trained(family)
    assert found.after < found.before
    assert found.rate is not None


def test_the_dense_model_is_at_no_distance_from_itself(trained):
    _, found = trained(sparsity=0.01, settings=SETTINGS)
    assert found.after <= found.before < 0.01


def test_what_does_not_help_is_not_kept(trained, monkeypatch):
    plain, _ = trained(settings=Recovery(scope="model", steps=1, learning_rate=1e-9))
    monkeypatch.setattr(training.Training, "_best", lambda *_: float("inf"))
    kept, found = trained()
    assert (found.rate, found.after) == (None, found.before)
    for one, other in zip(plain.matrices, kept.matrices, strict=True):
        assert torch.allclose(one.weight, other.weight, atol=1e-6)


def test_a_rate_that_breaks_the_weights_ends_early_and_is_not_kept(trained):
    steps = []
    original = training.Training._differentiated

    def counted(self, at):
        steps.append(at)
        original(self, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "_differentiated", counted)
        _, found = trained(settings=Recovery(scope="model", steps=200, learning_rate=1.0))
    assert found.after <= found.before
    assert len(steps) < 200


@pytest.mark.parametrize("cut", [1, 3, 4, 8])
def test_a_run_that_was_cut_off_goes_on_with_the_same_bits(trained, cut):
    whole, expected = trained()
    kept = Kept(fails_at=cut)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoints=kept)
    kept.left = None
    resumed, found = trained(checkpoints=kept)
    assert found == expected
    for one, other in zip(whole.matrices, resumed.matrices, strict=True):
        assert torch.equal(one.weight, other.weight), one.name


def test_weights_that_nothing_depends_on_stay(family_directory):
    adapter = adapt(load_model(family_directory("llava")))
    batches = list(adapter.batches(records("pair"), batch_size=2, max_length=24))
    unread = [m for m in adapter.matrices if m.name.startswith(UNREAD)]
    assert unread
    before = [matrix.weight.clone() for matrix in unread]
    with evaluating(adapter.model):
        known = learn_by_heart(adapter, lessons_of(adapter, batches))
        found = recover_model(
            *(adapter, known, unread, SETTINGS), tick=lambda: None, checkpoints=NoCheckpoints()
        )
    assert found.rate is None
    for matrix, weight in zip(unread, before, strict=True):
        assert torch.equal(matrix.weight, weight)


def test_one_batch_has_none_to_hold_out(trained):
    assert trained(batch_size=99)[1] is None


def test_a_model_that_gives_nothing_is_refused(family_directory, monkeypatch):
    adapter = adapt(load_model(family_directory("llama")))
    rows = records("text")
    batches = list(adapter.batches(rows, batch_size=2, max_length=24))
    monkeypatch.setattr(type(adapter), "call", lambda *_args, **_more: {})
    with pytest.raises(RecipeError, match="scope block"):
        learn_by_heart(adapter, lessons_of(adapter, batches))
