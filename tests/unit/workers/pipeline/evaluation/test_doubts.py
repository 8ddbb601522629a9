"""Metrics that cannot move, or that a broken model passes: refused or told, no gate on them."""

import numpy as np
import pytest
import torch
import transformers as tf

from app.errors import NonFiniteError
from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import EvaluationSpec, MetricName, MetricNotApplicableError, QualityGate
from tests.tiny_models import BERT, records, save, tokenizer
from workers.pipeline.data.record import Record
from workers.pipeline.evaluation.divergence import Divergence
from workers.pipeline.evaluation.interval import RecordScores, compare, exponential
from workers.pipeline.evaluation.stage import Evaluation, choose
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


@pytest.fixture
def classifier(tmp_path):
    def build(classes, labels):
        directory = tmp_path / str(classes)
        config = tf.BertConfig(**BERT, num_labels=classes)
        save(directory, tf.BertForSequenceClassification, config, tokenizer())
        made = [
            Record(text=r.text, label=label)
            for r, label in zip(records("text"), labels, strict=True)
        ]
        spec = EvaluationSpec(set="shapes", batch_size=3, max_length=24)
        return Subject(adapt(load_model(directory)), made, spec)

    return build


def gate_on(metric):
    return QualityGate(metric=metric, max_drop=0)


def evaluate(subject, dataset, gate=None, change=lambda _model: None):
    with Evaluation(subject, dataset(subject), gate) as evaluation:
        evaluation.before()
        with torch.no_grad():
            change(subject.adapter.model)
        return evaluation.after()


@pytest.mark.parametrize("metric", ["kl", "agreement", "classification"])
def test_one_class_has_no_metric_and_no_gate(classifier, dataset, metric):
    made = classifier(1, ["LABEL_0"] * 5)
    with pytest.raises(MetricNotApplicableError):
        Evaluation(made, dataset(made), gate_on(metric))
    with pytest.raises(MetricNotApplicableError):
        choose(made)


def test_one_score_is_refused_whatever_the_config_says(classifier, tmp_path):
    made = classifier(1, ["LABEL_0"] * 5)
    made.adapter.model.config.id2label = {0: "a", 1: "b"}
    with pytest.raises(MetricNotApplicableError, match="one score"), torch.no_grad():
        Divergence(tmp_path).before(made)


def test_records_of_one_class_are_told_and_carry_no_gate(classifier, dataset):
    def always_the_first(model):
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([1.0, 0, 0]))

    made = classifier(3, ["LABEL_0"] * 5)
    with torch.no_grad():
        always_the_first(made.adapter.model)
    with pytest.raises(MetricNotApplicableError, match="same label"):
        evaluate(made, dataset, gate_on("classification"))
    with pytest.raises(MetricNotApplicableError, match="same class first"):
        evaluate(made, dataset, gate_on("agreement"))
    report = evaluate(made, dataset)
    assert {text.split(":")[0] for text in report.warnings} == {"classification", "agreement"}


def test_a_score_of_zero_carries_no_gate(classifier, dataset):
    made = classifier(3, ["LABEL_0", "LABEL_1", "LABEL_0", "LABEL_1", "LABEL_1"])
    with torch.no_grad():
        made.adapter.model.classifier.weight.zero_()
        made.adapter.model.classifier.bias.copy_(torch.tensor([0.0, 0, 1]))
    with pytest.raises(MetricNotApplicableError, match="cannot get worse"):
        evaluate(made, dataset, gate_on("classification"))


def test_a_class_beyond_the_scores_is_refused(classifier, dataset):
    made = classifier(3, ["LABEL_0", "other", "LABEL_1", "LABEL_1", "LABEL_1"])
    made.adapter.model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", -1: "other"}
    with pytest.raises(EvaluationDataError, match="other"):
        evaluate(made, dataset)


def test_scores_of_classes_that_are_nan_fail(classifier, dataset):
    made = classifier(3, ["LABEL_0", "LABEL_1", "LABEL_0", "LABEL_1", "LABEL_1"])
    made.spec.__dict__["metrics"] = (MetricName.CLASSIFICATION,)
    with pytest.raises(NonFiniteError):
        evaluate(made, dataset, change=lambda model: model.classifier.weight.fill_(torch.nan))


def test_recall_counts_ties_against_the_model(subject, dataset):
    def alike(model):
        for projection in (model.visual_projection, model.text_projection):
            projection.weight.copy_(projection.weight[:1].expand_as(projection.weight).abs())

    made = subject("clip")
    report = evaluate(made, dataset, change=alike)
    assert report.metrics[MetricName.TEXT_RECALL_1].after.value < 1
    assert any(text.startswith("text_recall@5") for text in report.warnings)  # of five records
    with pytest.raises(MetricNotApplicableError, match="always among 5"):
        evaluate(made, dataset, gate_on("image_recall@5"))


def test_recall_of_one_text_is_no_gate(subject, dataset):
    made = subject("clip", lambda record: Record("a cat", record.image))
    with pytest.raises(MetricNotApplicableError, match="quality gate"):
        evaluate(made, dataset, gate_on("text_recall@1"))


def test_embeddings_that_are_nan_fail(subject, dataset):
    with pytest.raises(NonFiniteError, match="embeddings"):
        evaluate(
            subject("clip"), dataset, change=lambda m: m.text_projection.weight.fill_(torch.nan)
        )


def test_a_dense_embedding_of_zero_is_refused(subject, dataset):
    made = subject("bert")
    with torch.no_grad():
        for norm in made.adapter.model.modules():
            if isinstance(norm, torch.nn.LayerNorm):
                norm.weight.zero_()
                norm.bias.zero_()
    with pytest.raises(EvaluationDataError, match="record 1 is zero"):
        evaluate(made, dataset)


def test_a_model_that_embeds_all_alike_carries_no_gate(subject, dataset):
    made = subject("bert")
    with torch.no_grad():
        for norm in made.adapter.model.modules():
            if isinstance(norm, torch.nn.LayerNorm):
                norm.weight.zero_()
                norm.bias.fill_(1)
    with pytest.raises(MetricNotApplicableError, match="alike"):
        evaluate(made, dataset, gate_on("similarity"))


@pytest.mark.parametrize("answers", [["cat"] * 5, ["Cat", "cat", " cat", "cat ", "CAT"]])
def test_accuracy_of_one_answer_is_no_gate(subject, dataset, answers):
    said = iter(answers)
    made = subject("llama", lambda _r: Record(prompt="what is it", answer=next(said)))
    with pytest.raises(MetricNotApplicableError, match="same answer"):
        evaluate(made, dataset, gate_on("accuracy"))


def test_an_answer_without_words_is_refused(subject, dataset):
    said = iter(["cat", "dog", "  ", "cat", "cat"])
    made = subject("llama", lambda _r: Record(prompt="what is it", answer=next(said)))
    with pytest.raises(EvaluationDataError, match="record 3"):
        evaluate(made, dataset)


def test_records_with_nothing_to_measure_leave_the_interval_finite():
    weights = np.array([3.0, 0, 0, 0])
    scores = RecordScores(np.array([1.0, 0, 0, 0]), weights, exponential)
    found = compare(scores, scores, seed=0)
    assert found.samples == 1
    assert np.isfinite([found.after.low, found.after.high]).all()


def test_one_record_is_told(subject, dataset):
    made = subject("llama")
    del made.records[1:]
    report = evaluate(made, dataset)
    assert any("one record" in text for text in report.warnings)
