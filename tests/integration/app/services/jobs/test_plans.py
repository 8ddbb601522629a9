"""Plans: refused whenever the submit is, and true about what they can know."""

import json
import math

import pytest

from tests.integration.app.api.http.test_api import BAD_JOBS
from tests.integration.app.headers import SHAPES
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


@pytest.mark.parametrize(("change", "code"), BAD_JOBS)
def test_a_plan_is_refused_like_the_submit(client, change, code):
    assert_problem(client.post("/v1/plans", json=JOB | change), 422, code)


def test_a_plan_queues_nothing(client, checkpoint):
    assert client.post("/v1/plans", json=JOB).status_code == 200
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert client.get("/v1/audit").json()["entries"] == []


def test_matrices_and_sizes(client, checkpoint):
    job = JOB | {"sparsity": {"language": 0.5, "vision": 0.25}}
    plan = client.post("/v1/plans", json=job).json()
    found = {m["file_key"]: (m["modality"], m["sparsity"]) for m in plan["matrices"]}
    language, vision, projector, *_ = SHAPES
    assert found == {language: ("language", 0.5), vision: ("vision", 0.25)}
    assert plan["zeros"] == 32 + 32
    assert plan["model_weights"] == sum(math.prod(shape) for shape in SHAPES.values())
    memory = plan["memory"]
    assert memory["weights"] == 2 * 16 * 8, "one matrix at a time"
    largest = max(memory["stages"].values())
    assert plan["memory_bytes"] == memory["libraries"] + memory["weights"] + largest
    assert plan["packed_bytes"] == 192 // 8 + 2 * (plan["model_weights"] - 64)
    both = client.post("/v1/plans", json=JOB | {"include_bridge": True}).json()
    assert projector in {m["file_key"] for m in both["matrices"]}


def test_time_comes_from_earlier_jobs(client, worker, checkpoint):
    assert client.post("/v1/plans", json=JOB).json()["seconds"] is None
    for seconds in (1.0, 2.0, 30.0):
        client.post("/v1/jobs", json=JOB)
        worker.succeed(worker.claim(), result={"seconds": seconds})
    assert client.post("/v1/plans", json=JOB).json()["seconds"] == 2
    other = JOB | {"method": "wanda"}
    assert client.post("/v1/plans", json=other).json()["seconds"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "no speed-up"),
        ({"sparsity": 0.7}, "above 60 %"),
        ({"pattern": "1:3", "sparsity": None}, "3 does not divide"),
        ({"pattern": "4:8", "sparsity": None}, "no hardware"),
    ],
)
def test_warnings(client, checkpoint, change, words):
    plan = client.post("/v1/plans", json=JOB | change).json()
    assert any(words in warning for warning in plan["warnings"]), plan["warnings"]


def test_a_plan_says_how_much_of_the_model_it_reaches(client, checkpoint):
    plan = client.post("/v1/plans", json=JOB).json()
    assert plan["reached"] == pytest.approx(sum(plan["weights"].values()) / plan["model_weights"])
    assert plan["model_sparsity"] == pytest.approx(plan["zeros"] / plan["model_weights"])
    assert plan["reached"] < plan["reached_blocks"] <= 1
    assert {"name": "lm_head.weight", "reason": "an output head"}.items() <= plan["dense"][
        0
    ].items()
    assert plan["warnings"][0].startswith("the recipe reaches ")


def test_two_of_four_is_not_warned_of(client, checkpoint):
    plan = client.post("/v1/plans", json=JOB | {"pattern": "2:4"}).json()
    assert [text.partition(" reaches")[0] for text in plan["warnings"]] == ["the recipe"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{x"])
def test_a_file_without_a_header_is_refused(client, checkpoint, content):
    checkpoint.write_bytes(content)
    for path in ("/v1/plans", "/v1/jobs"):
        problem = assert_problem(client.post(path, json=JOB), 422, "model_load_failed")
        assert "model.safetensors" in problem["detail"]


def test_a_quota_refuses_the_plan_too(client, engine):
    from tests.integration.app.api.projects.test_projects import set_limits  # noqa: PLC0415 - one use

    set_limits(engine, queued_jobs=0)
    assert_problem(client.post("/v1/plans", json=JOB), 429, "quota_queued_jobs")


def test_a_plan_of_routes_tells_layers_instead_of_matrices(client, checkpoint):
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "vision_config": {},
        "text_config": {"num_hidden_layers": 32},
    }
    (checkpoint.parent / "config.json").write_text(json.dumps(config))
    job = {"model": "tiny", "method": "par", "calibration": {"set": "scenes"}}
    plan = client.post("/v1/plans", json=job | {"parameters": {"profile": "fast"}}).json()
    assert (plan["matrices"], plan["zeros"]) == ([], 0)
    assert plan["routing"] == {
        "layers": 32,
        "protected": [0, 1, 2, 31],
        "may_skip": list(range(16, 31)),
        "run": 24,
    }
    assert any("64 records" in warning for warning in plan["warnings"])
    refused = job | {"parameters": {"layers": 10}}
    assert_problem(client.post("/v1/plans", json=refused), 422, "routing_layers_not_skippable")
    assert_problem(client.post("/v1/jobs", json=refused), 422, "routing_layers_not_skippable")
    assert client.post("/v1/jobs", json=job).status_code == 202


@pytest.mark.parametrize("config", ["{", "[]"])
def test_routes_need_a_configuration_that_can_be_read(client, checkpoint, config):
    (checkpoint.parent / "config.json").write_text(config)
    job = {"model": "tiny", "method": "par", "calibration": {"set": "scenes"}}
    assert_problem(client.post("/v1/plans", json=job), 422, "model_files_missing")


LLAVA = {"model_type": "llava", "vision_config": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"targets": ["*.qproj"]},
        {"targets": ["*", "re:.*[.]k_proj$"]},
        {"targets": ["model.multi_modal_projector.0"]},  # without include_bridge
        {"ignore": ["model.language_model.layers.0"]},  # matches no weight below it
        {"ignore": ["*.q_proj", "*.out_projection"]},
    ],
)
def test_a_pattern_for_nothing_is_refused_by_name(client, checkpoint, change):
    (checkpoint.parent / "config.json").write_text(json.dumps(LLAVA))
    for path in ("/v1/plans", "/v1/jobs"):
        problem = assert_problem(
            client.post(path, json=JOB | change), 422, "pattern_matches_nothing"
        )
        assert repr(next(iter(change.values()))[-1]) in problem["detail"]


def test_patterns_that_mean_something_are_accepted(client, checkpoint):
    (checkpoint.parent / "config.json").write_text(json.dumps(LLAVA))
    wanted = {"targets": ["re:model[.]language_model", "*.fc1"], "ignore": ["lm_head", "*.fc?"]}
    plan = client.post("/v1/plans", json=JOB | wanted).json()
    assert [m["name"] for m in plan["matrices"]] == [
        "model.language_model.layers.0.self_attn.q_proj"
    ]
    loose = {"ignore": ["*.nothing"], "allow_unmatched": True}
    plan = client.post("/v1/plans", json=JOB | loose).json()
    assert any("'*.nothing' matches no module" in told for told in plan["warnings"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ignore": ["a" * 257]}, "field_invalid"),
        ({"ignore": [""]}, "field_invalid"),
        ({"ignore": ["a"] * 101}, "field_invalid"),
        ({"targets": ["re:(a"]}, "pattern_not_a_regex"),
        ({"targets": ["re:(a)\\1"]}, "pattern_not_a_regex"),
    ],
)
def test_patterns_are_bounded(client, checkpoint, change, code):
    for path in ("/v1/plans", "/v1/jobs"):
        assert_problem(client.post(path, json=JOB | change), 422, code)
