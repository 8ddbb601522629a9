"""Which tasks of evaluation harnesses a request may name, and for which models."""

import pytest
from pydantic import ValidationError

from app.domain.submission import JobRequest, resolve
from app.recipes.tasks import OFFER, HarnessTask, TaskModelError, check_model, kind_of

TASK = {"harness": "lm-eval", "task": "fruits"}
JOB = {"model": "m", "method": "magnitude", "sparsity": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"task": "../fruits"},
        {"task": "/etc/passwd"},
        {"task": "fruits.yaml"},
        {"task": "a,pretrained=other"},
        {"task": "a b"},
        {"task": "-h"},
        {"task": ""},
        {"task": "fruits\n"},
        {"task": "a" * 129},
        {"harness": "helm"},
        {"limit": 0},
        {"limit": 0.5},
        {"model_args": "trust_remote_code=True"},
        {"harness": "lmms-eval", "batch_size": 2},
    ],
)
def test_what_is_no_name_of_a_task_is_refused(change):
    with pytest.raises(ValidationError):
        HarnessTask(**TASK | change)


@pytest.mark.parametrize("name", ["lm-eval/a.b", "lm-eval/../a", "other/a", "lm-eval/a\n", "a"])
def test_what_is_no_offer_is_none(name):
    assert OFFER.fullmatch("lm-eval/fruits-2_x")
    assert not OFFER.fullmatch(name)


def test_an_evaluation_needs_something_to_judge_by():
    with pytest.raises(ValidationError, match="a set, or tasks"):
        JobRequest(**JOB, evaluation={})
    with pytest.raises(ValidationError, match="lm-eval/fruits is given twice"):
        JobRequest(**JOB, evaluation={"tasks": [TASK, TASK]})


def test_tasks_stand_beside_what_we_measure_ourselves():
    alone = resolve(JobRequest(**JOB, evaluation={"tasks": [TASK]}))
    assert alone.evaluation is None
    assert [task.offer for task in alone.tasks] == ["lm-eval/fruits"]
    both = resolve(JobRequest(**JOB, evaluation={"set": "sentences", "tasks": [TASK]}))
    assert (both.evaluation.set, both.evaluation.tasks, both.tasks) == (
        "sentences",
        (),
        alone.tasks,
    )


def test_a_gate_is_on_a_metric_of_ours():
    gate = {"metric": "accuracy", "max_drop": 0.1}
    with pytest.raises(ValidationError, match="an evaluation on a set"):
        JobRequest(**JOB, evaluation={"tasks": [TASK]}, quality_gate=gate)


def test_a_router_has_no_tasks():
    with pytest.raises(ValidationError, match="harnesses load plain models"):
        JobRequest(model="m", method="par", evaluation={"set": "scenes", "tasks": [TASK]})


@pytest.mark.parametrize(
    ("architecture", "model_type", "texts", "images"),
    [
        ("LlamaForCausalLM", "llama", "causal", None),
        ("GPT2LMHeadModel", "gpt2", "causal", None),
        ("T5ForConditionalGeneration", "t5", "seq2seq", None),
        ("LlavaForConditionalGeneration", "llava", "causal", "llava_hf"),
        ("Qwen2VLForConditionalGeneration", "qwen2_vl", "causal", "qwen2_vl"),
        ("InstructBlipForConditionalGeneration", "instructblip", None, "instructblip"),
        ("BertModel", "bert", None, None),
        ("CLIPModel", "clip", None, None),
    ],
)
def test_which_models_a_harness_runs(architecture, model_type, texts, images):
    config = {"architectures": [architecture], "model_type": model_type}
    assert kind_of("lm-eval", config) == texts
    assert kind_of("lmms-eval", config) == images
    for harness, kind in (("lm-eval", texts), ("lmms-eval", images)):
        task = HarnessTask(harness=harness, task="x")
        if kind is None:
            with pytest.raises(TaskModelError, match=f"{harness} runs .* {architecture}"):
                check_model([task], "m", config)
        else:
            check_model([task], "m", config)


def test_a_model_that_names_no_architecture_has_none_in_the_harness():
    assert kind_of("lm-eval", {}) is None
    with pytest.raises(TaskModelError):
        check_model([HarnessTask(**TASK)], "m", {})
