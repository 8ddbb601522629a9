"""Gradients that are zero say nothing: refused where all are, told where some are."""

import pytest
import torch
import transformers as tf

from app.errors import CalibrationDataError
from app.recipes.allocation import Pooled
from app.recipes.methods.chita import Chita
from app.recipes.methods.snip import Snip
from app.recipes.recipe import Recipe
from tests.families import BY_NAME, records
from tests.tiny_models import BERT, save, tokenizer
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


@pytest.mark.parametrize("importance", [Snip(), Snip(stages=2), Chita()])
def test_a_loss_that_no_weight_moves_is_refused(importance, tmp_path):
    """A classifier of one class is always right."""
    config = tf.BertConfig(**BERT, num_labels=1)
    save(tmp_path / "model", tf.BertForSequenceClassification, config, tokenizer())
    adapter = adapt(load_model(tmp_path / "model"))
    batches = list(adapter.batches(records("text"), batch_size=2, max_length=24))
    before = {m: m.weight.clone() for m in adapter.matrices}
    with pytest.raises(CalibrationDataError, match="zero for every matrix"):
        prune(
            adapter,
            Recipe(importance=importance, allocation=Pooled(), sparsity=0.5),
            batches,
        )
    assert all(torch.equal(matrix.weight, weight) for matrix, weight in before.items())


def test_matrices_that_the_loss_does_not_feel_are_named(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    batches = list(adapter.batches(records(BY_NAME["llama"].kind), batch_size=2, max_length=24))
    adapter.model.model.layers[1].self_attn.o_proj.weight.data.zero_()
    report = prune(adapter, Recipe(importance=Snip(), allocation=Pooled(), sparsity=0.5), batches)
    told = [text for text in report.warnings if "does not depend on" in text]
    assert any("layers.1.self_attn.v_proj" in text for text in told)
    assert not any("layers.0" in text for text in told)
