"""PAR jobs over HTTP: a router is trained, shipped, used without this project, or refused."""

import json
import os
import signal
import subprocess
import sys
from xml.etree import ElementTree as ET

import psutil
import pytest
import torch
import transformers
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from safetensors.torch import load_file

from app.domain.bill_of_materials import BILL_FILE
from tests.large_weight_llava import SIDE
from workers.pruning.routing.flops import Costs, Prompt, count
from workers.pruning.routing.runtime import anatomy, attach

JOB = {
    "model": "loud-llava",
    "method": "par",
    "parameters": {
        "tokens": 0.5,
        "layers": 5,
        "rounds": 2,
        "candidates": 3,
        "epochs": 2,
        "answer_tokens": 4,
        "held_out": 0.3,
        "allow_no_improvement": True,
    },
    "calibration": {"set": "scenes", "samples": 30, "batch_size": 8},
}
# The example, with this project taken off the path; `python example.py` would find it there only
# because the tests run where it is installed for editing.
SEED = 0
ALONE = """
import runpy, sys
from importlib.util import find_spec
sys.meta_path[:] = [each for each in sys.meta_path if "__editable__" not in repr(each)]
sys.path[:] = [sys.argv[1], *(each for each in sys.path if "lib" in each)]
assert find_spec("app") is None and find_spec("workers") is None
sys.argv[:] = ["example.py", *sys.argv[2:]]
runpy.run_path(sys.path[0] + "/example.py", run_name="__main__")
"""


def parameters(**changes):
    return JOB | {"parameters": JOB["parameters"] | changes}


@pytest.fixture(scope="module")
def done(service):
    job = parameters(static_export=True) | {
        "evaluation": {"set": "scenes", "samples": 9, "max_new_tokens": 3}
    }
    return service.finish(service.submit(**job))


@pytest.fixture(scope="module")
def artifact(service, done, tmp_path_factory):
    return service.download(done["id"], tmp_path_factory.mktemp("par"))


def test_a_job_trains_a_router_and_ships_it_with_its_figures(service, done, artifact):
    assert done["status"] == "succeeded", done
    found = done["result"]["routing"]
    assert (found["tokens"], found["layers"], found["of_layers"]) == (0.5, 5, 6)
    assert found["records"] == {"train": 22, "choose": 4, "judge": 4}
    assert len(found["rounds"]) == 2
    assert set(found["policies"]) == {"router", "random", "uniform", "prior"}
    assert found["flops_ratio"] > 0
    assert set(done["result"]["evaluation"]["metrics"]) == {"accuracy"}
    said = done["result"]["evaluation"]["answers"]
    assert [each["record"] for each in said] == list(range(1, 9))
    assert all(each["prompt"] and each["expected"] for each in said)
    config = json.loads((artifact / "par_config.json").read_text())
    assert config["base"]["model"] == "loud-llava"
    assert config["profiles"]["asked"] == {"tokens": 0.5, "layers": 5, "drop_layer": 2}
    assert {"quality", "balanced", "fast", "turbo", "token-only", "early"} < set(config["profiles"])
    report = json.loads((artifact / "routing_report.json").read_text())
    assert report["evaluation"]["answers"] == []  # nobody asked to have them in files
    assert report["policies"] == found["policies"] == config["metrics"]["policies"]
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert {"router.safetensors", "par_runtime.py", "example.py"} < set(manifest["files"])
    bill = (artifact / BILL_FILE).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    weights = json.loads(bill)["metadata"]["component"]["components"]
    digests = {each["name"]: each["hashes"][0]["content"] for each in weights}
    assert digests["router.safetensors"] == manifest["files"]["router.safetensors"]["sha256"]


def test_its_card_tells_licence_costs_and_runtimes(artifact):
    card = (artifact / "README.md").read_text()
    assert "\nlicense: mit\n" in card.split("---")[1]
    assert "| router |" in card
    assert "| asked | 50 % | 5 of 6 |" in card
    assert "| transformers 5 with par_runtime.py |" in card
    for name in ("divergence", "rounds", "influence"):
        assert f"](plots/{name}.svg)" in card
        assert ET.parse(artifact / "plots" / f"{name}.svg").getroot().tag.endswith("svg")


def test_its_profiles_tell_what_they_cost(done):
    found = done["result"]["routing"]["profiles"]
    assert found["asked"]["flops_ratio"] == done["result"]["routing"]["flops_ratio"]
    assert found["turbo"]["cached_ratio"] < found["quality"]["cached_ratio"] < 1


def test_its_events_tell_rounds_and_figures(service, done):
    messages = service.messages(done["id"])
    assert messages.count("mining") == messages.count("training") == 2
    assert any(message.startswith("round 2 of 2: ") for message in messages)
    assert any(message.startswith("router: held-out KL ") for message in messages)


def test_the_example_runs_where_this_project_is_not(service, models, artifact, tmp_path):
    from PIL import Image  # noqa: PLC0415 - one use

    Image.new("RGB", (30, 20), "red").save(tmp_path / "image.png")
    example = (artifact / "example.py").read_text()
    assert len(example.splitlines()) <= 1 + 10, "a docstring and ten lines"
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, artifact, "image.png", "what is red", models / "loud-llava"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert "what is red" in ran.stdout


def test_the_static_export_loads_plainly(artifact):
    model, info = transformers.AutoModelForImageTextToText.from_pretrained(
        artifact / "static", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert model.config.text_config.num_hidden_layers == 5


def test_a_family_without_a_row_in_the_matrix_is_routed_too(service, models, tmp_path):
    job = parameters(rounds=1, candidates=2, epochs=1, answer_tokens=2) | {"model": "internvl"}
    job["calibration"] = JOB["calibration"] | {"samples": 12}
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    assert (done["result"]["routing"]["layers"], done["result"]["routing"]["of_layers"]) == (5, 6)
    model = transformers.AutoModelForImageTextToText.from_pretrained(models / "internvl")
    image = model.config.image_token_id
    ids = torch.tensor([[20] * 4 + [image] * 4 + [21] * 4])
    inputs = {"input_ids": ids, "pixel_values": torch.ones(1, 3, SIDE, SIDE)}
    with attach(model, service.download(done["id"], tmp_path), profile="asked"):
        assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape == (1, 14)


def test_a_budget_by_cost_is_met_on_a_real_prompt(service, models, tmp_path):
    # The router itself takes nearly half the operations of a model as small as this one.
    job = parameters(target_flops_ratio=0.97, rounds=1, candidates=2)
    del job["parameters"]["tokens"], job["parameters"]["layers"]
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    found = done["result"]["routing"]
    assert 0.9 < found["flops_ratio"] <= 0.97
    model = transformers.AutoModelForImageTextToText.from_pretrained(models / "loud-llava")
    inputs = prompt_of(found["typical_prompt"], model.config.image_token_id)
    dense = count(lambda: model(**inputs))["Global"]
    with attach(model, service.download(done["id"], tmp_path), profile="asked"):
        saved = dense - count(lambda: model(**inputs))["Global"]
    layers = Costs(anatomy(model), None, Prompt(**found["typical_prompt"])).dense()
    assert 1 - saved / layers == pytest.approx(found["flops_ratio"], abs=1e-9)


def prompt_of(lengths, image):
    """Inputs with that many text and image tokens."""
    ids = torch.tensor([[20] * lengths["text"] + [image] * lengths["vision"]])
    return {"input_ids": ids, "pixel_values": torch.ones(1, 3, SIDE, SIDE)}


def test_a_router_that_beats_nothing_fails_its_job_with_figures(service):
    # Nothing is learnt at such a rate, so the router is the one the seed draws.
    job = parameters(allow_no_improvement=False, learning_rate=1e-12, rounds=1) | {"seed": SEED}
    done = service.finish(service.submit(**job))
    assert (done["status"], done["error"]["code"]) == ("failed", "quality_gate_failed")
    assert done["error"]["kind"] == "user_error"
    gate = done["result"]["routing"]["gate"]
    assert gate["unbeaten"]
    for name in gate["unbeaten"]:
        assert name in done["error"]["message"]
    files = {file["path"] for file in service.artifacts(done["id"])}
    assert files == {"routing_report.json", "manifest.json"}


def test_a_job_continues_after_the_last_finished_round_to_the_same_bits(service, tmp_path):
    job = parameters(rounds=3, candidates=8)
    whole, killed = service.submit(**job), service.submit(**job)

    def second_round(_job):
        return any(message.startswith("round 1 of 3") for message in service.messages(killed))

    service.finish(whole)
    service.wait(killed, second_round)
    run = service.running.settings.data_dir / "run" / "worker"
    child = psutil.Process(int(run.read_text().split()[0])).children()[0]
    os.kill(child.pid, signal.SIGKILL)
    done = service.finish(killed)
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
    rounds = [m.split(":")[0] for m in service.messages(killed) if m.startswith("round ")]
    assert rounds == [f"round {number} of 3" for number in (1, 2, 3)]
    routers = [
        load_file(service.download(each, tmp_path / each) / "router.safetensors")
        for each in (whole, killed)
    ]
    assert routers[0].keys() == routers[1].keys()
    for name, value in routers[0].items():
        assert (value == routers[1][name]).all(), name


def test_a_hub_of_refusals(service):
    for model, code in (
        ("bert", "calibration_data_invalid"),
        ("clip", "routing_no_decoder"),
        ("instructblip", "routing_tokens_not_prunable"),
        ("paligemma", "routing_family_not_supported"),
    ):
        for path in ("/v1/plans", "/v1/jobs"):
            answer = service.http.post(path, json=JOB | {"model": model})
            assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
