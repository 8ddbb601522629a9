"""Models and sets that cannot work together are refused before anything is queued."""

import json

import pytest

from tests.integration.app.headers import write_header
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "wanda", "sparsity": 0.5}
LLAVA = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}, "text_config": {}}
LLAMA = {"architectures": ["LlamaForCausalLM"], "vocab_size": 100}


@pytest.fixture(params=["/v1/plans", "/v1/jobs"])
def refused(request, client):
    def ask(change, code, words):
        answer = client.post(request.param, json=JOB | change)
        assert_problem(answer, 422, code)
        assert words in answer.json()["detail"]
        assert client.get("/v1/jobs").json()["jobs"] == []

    return ask


@pytest.fixture
def configured(checkpoint):
    def write(config):
        (checkpoint.parent / "config.json").write_text(json.dumps(config))
        return checkpoint.parent

    return write


def test_the_default_follows_the_model(client, configured):
    for config, name in ((LLAVA, "scene-captions"), (LLAMA, "sentences")):
        configured(config)
        plan = client.post("/v1/plans", json=JOB).json()
        assert plan["spec"]["calibration"]["set"] == name


@pytest.mark.parametrize(
    ("config", "change", "code", "words"),
    [
        (LLAVA, {"calibration": {"set": "sentences"}}, "calibration_data_invalid", "scenes"),
        (LLAMA, {"calibration": {"set": "shapes"}}, "calibration_data_invalid", "sentences"),
        (LLAVA, {"evaluation": {"set": "sentences"}}, "evaluation_data_invalid", "images"),
        (LLAMA, {"sparsity": {"vision": 0.5}}, "recipe_not_applicable", "vision"),
        (LLAMA | {"quantization_config": {}, "quantization": 4}, {}, "model_load_failed", "quanti"),
    ],
)
def test_what_cannot_feed_the_model(refused, configured, config, change, code, words):
    configured(config)
    refused(change, code, words)


CLIP = {"architectures": ["CLIPModel"], "vision_config": {}, "text_config": {}}
BERT = {"architectures": ["BertModel"], "vocab_size": 100}


@pytest.mark.parametrize(
    ("config", "name", "metric", "words"),
    [
        (LLAVA, "scenes", "perplexity", "what may be: accuracy, agreement, kl"),
        (LLAVA, "scene-captions", "accuracy", "agreement, kl, perplexity"),
        (LLAVA, "scene-captions", "text_recall@1", "LlavaForConditionalGeneration"),
        (CLIP, "scene-captions", "perplexity", "CLIPModel"),
        (BERT, "sentences", "perplexity", "similarity"),
        (LLAMA, "sentences", "classification", "LlamaForCausalLM"),
    ],
)
def test_a_metric_that_cannot_be_measured(refused, configured, config, name, metric, words):
    configured(config)
    code, judged = "metric_not_applicable", {"set": name}
    refused({"evaluation": {**judged, "metrics": [metric]}}, code, words)
    gate = {"metric": metric, "max_drop": 1}
    refused({"evaluation": judged, "quality_gate": gate}, code, words)
    refused({"evaluation": judged, "quality_gate": gate, "sparsity": "auto"}, code, words)


def test_a_metric_that_records_of_an_uploaded_set_do_not_allow(client, refused, configured):
    configured(LLAMA)
    made = client.post("/v1/datasets", content=b'{"text": "one"}\n{"text": "two"}\n').json()
    judged = {"set": made["id"], "metrics": ["accuracy"]}
    refused({"evaluation": judged}, "metric_not_applicable", "agreement, kl, perplexity")


def test_a_set_that_was_uploaded_is_held_against_the_model(client, refused, configured):
    configured(LLAVA)
    rows = b'{"text": "one"}\n\n{"text": "two"}\n'
    made = client.post("/v1/datasets", content=rows).json()
    assert made["blank"] == 1
    words = "holds texts alone, and tiny takes images with texts"
    refused({"calibration": {"set": made["id"]}}, "calibration_data_invalid", words)


def test_quantised_weights_that_nothing_speaks_of(refused, configured):
    directory = configured(LLAMA)
    write_header(directory / "model.safetensors", {"model.layers.0.mlp.up_proj.qweight": [8, 8]})
    refused({}, "model_load_failed", "GPTQ")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        ("tokenizer.json", b'{"version": "1.0", "model": {"vo', "cut off"),
        ("tokenizer.model", b"", "it is empty"),
        ("preprocessor_config.json", b"[]", "no JSON object"),
    ],
)
def test_a_tokenizer_that_cannot_be_read(client, refused, configured, name, content, words):
    (configured(LLAMA) / name).write_bytes(content)
    refused({}, "calibration_data_invalid", words)
    without_data = JOB | {"method": "magnitude"}
    assert client.post("/v1/plans", json=without_data).status_code == 200


def test_weights_that_were_never_fetched(refused, configured):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    (configured(LLAMA) / "model.safetensors").write_bytes(pointer)
    refused({}, "model_load_failed", "git lfs pull")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("adapter_model.safetensors", "model_files_missing", "it is an adapter"),
        ("model.gguf", "model_files_missing", "GGUF"),
        ("tf_model.h5", "model_files_missing", "another framework"),
        ("pytorch_model.bin", "model_weights_unsafe", "pickled"),
    ],
)
def test_repositories_without_weights_to_load(refused, configured, name, code, words):
    directory = configured(LLAMA)
    (directory / "model.safetensors").rename(directory / name)
    (directory / "adapter_config.json").write_text("{}") if "adapter" in name else None
    refused({}, code, words)
