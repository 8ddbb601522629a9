"""MULTIFLOW over HTTP: the real MiniLM, and every vision-language family at once."""

import importlib.util
import json

import pytest
import torch
import transformers

from tests.families import FAMILIES

PAIRS = {"set": "shapes", "samples": 4, "batch_size": 2, "max_length": 40}


def test_every_vision_language_family(service):
    names = [family.name for family in FAMILIES if family.kind == "pair"]
    job = {"method": "multiflow", "sparsity": 0.63, "calibration": PAIRS}
    ids = {name: service.submit(model=name, **job) for name in names}
    for name, job_id in ids.items():
        done = service.finish(job_id, seconds=240)
        assert done["status"] == "succeeded", (name, done["error"])
        modalities = done["result"]["modalities"]
        assert len(modalities) == 2, name
        for modality, sparsity in modalities.items():
            assert sparsity == pytest.approx(0.63, abs=1e-3), (name, modality)


@pytest.fixture(scope="module")
def minilm(service, tmp_path_factory):
    job = {"model": "minilm", "method": "multiflow", "sparsity": 0.5}
    done = service.finish(service.submit(**job, calibration={"samples": 16}))
    assert done["status"] == "succeeded", done
    return service.download(done["id"], tmp_path_factory.mktemp("minilm"))


def test_budgets_are_exact_and_matrices_differ(minilm):
    report = json.loads((minilm / "pruning_report.json").read_text())
    tally = report["modalities"]["text"]
    assert tally["zeros"] == tally["asked"] == tally["weights"] // 2
    assert len({matrix["zeros"] / matrix["weights"] for matrix in report["matrices"]}) > 10


def test_the_downloaded_file_keeps_the_model_sparse(minilm):
    spec = importlib.util.spec_from_file_location("keep_sparse", minilm / "sparse/keep_sparse.py")
    keep_sparse = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(keep_sparse)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm)
    zeros = {name: weight == 0 for name, weight in model.named_parameters()}
    with keep_sparse.KeepSparse(model, minilm / "sparse/masks.safetensors"):
        step = torch.optim.AdamW(model.parameters(), lr=1e-3)
        ids = torch.arange(1000, 1016)[None]
        model(input_ids=ids, labels=torch.tensor([1])).loss.backward()
        step.step()
    report = json.loads((minilm / "pruning_report.json").read_text())
    for matrix in report["matrices"]:
        name = f"bert.{matrix['module']}.weight"
        weight = dict(model.named_parameters())[name]
        assert torch.equal(weight == 0, zeros[name])
        assert int(zeros[name].sum()) == matrix["zeros"]


GRADIENTS = ["snip", "chita"]


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradient_methods(method, service):
    job = {"model": "llava", "method": method, "sparsity": 0.5, "calibration": PAIRS}
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    assert done["result"]["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_a_pattern_without_meaning_is_refused_in_words(service):
    body = {"model": "minilm", "method": "lamp", "pattern": "2:4"}
    answer = service.http.post("/v1/jobs", json=body)
    assert answer.status_code in {400, 422}
    assert "ask for magnitude" in answer.text


def test_methods_describe_themselves(service):
    methods = {m["name"]: m for m in service.http.get("/v1/methods").json()["methods"]}
    told = {
        name: (method["needs_data"], method["needs_gradient"], method["updates_weights"])
        for name, method in methods.items()
    }
    expected = {
        "random": (False, False, False),
        "magnitude": (False, False, False),
        "l2-normalized": (False, False, False),
        "lamp": (False, False, False),
        "multiflow": (True, False, False),
        "snip": (True, True, False),
        "iterative-snip": (True, True, False),
        "chita": (True, True, True),
        "chita++": (True, True, True),
        "wanda": (True, False, False),
        "sparsegpt": (True, False, True),
    }
    assert {name: told[name] for name in expected} == expected
    assert all(method["paper"] and method["parameters"] for method in methods.values())
