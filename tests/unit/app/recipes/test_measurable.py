"""What names tell of what can be measured rules out nothing that a worker could measure."""

import inspect

import pytest
import transformers as tf

from app.recipes.evaluation import MetricName, measurable

FIELDS = {"text", "image", "prompt", "answer", "label"}
CLASSES = [
    tf.BertForSequenceClassification,
    tf.BertGenerationDecoder,
    tf.BertModel,
    tf.BlipForImageTextRetrieval,
    tf.BlipForQuestionAnswering,
    tf.CLIPModel,
    tf.GPT2LMHeadModel,
    tf.LlamaForCausalLM,
    tf.LlavaForConditionalGeneration,
    tf.MarianMTModel,
    tf.SiglipModel,
    tf.T5ForConditionalGeneration,
    tf.ViTForImageClassification,
    tf.VisionEncoderDecoderModel,
]


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_nothing_that_a_class_gives_is_ruled_out(model):
    found = measurable(model.__name__, FIELDS)
    if model.can_generate():
        assert found >= {MetricName.ACCURACY, MetricName.PERPLEXITY, MetricName.KL}
    if "return_loss" in inspect.signature(model.forward).parameters:
        assert found >= {MetricName.TEXT_RECALL_1, MetricName.CLASSIFICATION}
    if "Classification" in model.__name__:
        assert found == {MetricName.CLASSIFICATION, MetricName.KL, MetricName.AGREEMENT}
    if model is tf.BertModel:
        assert found == {MetricName.SIMILARITY}


def test_an_unknown_class_is_held_against_the_records_alone():
    assert MetricName.PERPLEXITY in measurable("", {"text"})
    assert MetricName.ACCURACY not in measurable("", {"prompt", "image"})
