"""Jobs go to workers that have what they need, and are refused where none has."""

import json
from dataclasses import replace

import pytest

from app.db import workers as worker_classes
from app.planning.machines import Machine
from app.recipes.performance import BUDGET
from app.services import workers as machines
from tests.integration.app.problem import assert_problem
from tests.integration.app.services.jobs.test_plans import JOB

GB = 10**9
CPU = Machine("cpu", 8 * GB, 2, "cpu", 0, None, 20.0, 1e8)
LARGE = replace(CPU, worker_class="cpu-large", memory_bytes=64 * GB)
GPU = Machine("gpu", 32 * GB, 8, "cuda", 2, 24 * GB, 2e4, 1e9)


@pytest.fixture
def workers(engine):
    def start(*started):
        with engine.begin() as connection:
            for machine in started:
                worker_classes.put(connection, machine)

    return start


def both(client, job):
    """The plan's answer, and the job's: they refuse the same."""
    return client.post("/v1/plans", json=job), client.post("/v1/jobs", json=job)


@pytest.mark.parametrize(
    ("change", "goes_to"),
    [
        ({}, "gpu"),
        ({"device": "cpu"}, "cpu"),
        ({"device": "cuda:1"}, "gpu"),
        ({"worker_class": "cpu-large"}, "cpu-large"),
        ({"worker_class": "gpu", "device": "cpu"}, "gpu"),
    ],
)
def test_jobs_go_to_the_smallest_that_fits(client, workers, checkpoint, change, goes_to):
    workers(CPU, LARGE, GPU)
    plan, job = both(client, JOB | change)
    assert plan.json()["worker_class"] == job.json()["worker_class"] == goes_to
    assert plan.json()["memory_bytes"] == job.json()["memory_bytes"] > 0


def test_what_does_not_fit_the_small_goes_to_the_large(client, workers, checkpoint):
    workers(replace(CPU, memory_bytes=GB // 10), LARGE)
    plan, job = both(client, JOB)
    assert plan.json()["worker_class"] == job.json()["worker_class"] == "cpu-large"


@pytest.mark.parametrize(
    ("started", "change", "code", "words"),
    [
        ([replace(CPU, memory_bytes=GB // 10)], {}, "job_too_large", "has 0.1 GB"),
        ([replace(GPU, device_bytes=GB // 10)], {}, "job_too_large", "'gpu', has 0.1 GB"),
        ([CPU], {"device": "cuda"}, "no_worker_for_device", "GPUs a worker has is 0"),
        ([], {"device": "cuda"}, "no_worker_for_device", "of any class"),
        ([CPU, GPU], {"device": "cuda:2"}, "no_worker_for_device", "is 2"),
        ([CPU], {"worker_class": "gpu"}, "worker_class_unknown", "known classes: cpu"),
    ],
)
def test_what_nobody_can_take_is_refused(
    client,
    workers,
    checkpoint,
    started,
    change,
    code,
    words,
):
    workers(*started)
    for answer in both(client, JOB | change):
        problem = assert_problem(answer, 422, code)
        assert words in problem["detail"]
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_before_the_first_worker_starts_jobs_wait_for_the_default(client, checkpoint):
    plan, job = both(client, JOB)
    assert plan.json()["phases"] is None
    assert job.json()["worker_class"] == "cpu"


def test_time_is_told_per_phase(client, workers, checkpoint):
    workers(CPU)
    phases = client.post("/v1/plans", json=JOB | {"method": "wanda"}).json()["phases"]
    assert {"loading", "pruning", "exporting", "verifying"} <= set(phases)
    assert all(seconds >= 0 for seconds in phases.values())


def test_measuring_wants_a_worker_that_holds_a_whole_model(client, workers, checkpoint):
    measured = JOB | {"measure": True}
    workers(replace(CPU, memory_bytes=GB // 2))
    assert both(client, JOB)[0].status_code == 200
    for answer in both(client, measured):
        problem = assert_problem(answer, 422, "measuring_too_large")
        assert "leave measure out" in problem["detail"]
    workers(LARGE)
    plan, job = both(client, measured)
    assert plan.json()["worker_class"] == job.json()["worker_class"] == "cpu-large"
    assert plan.json()["memory"]["stages"]["measuring"] > 0
    assert 0 < plan.json()["phases"]["measuring"] < BUDGET
    assert not [text for text in plan.json()["warnings"] if "measuring ends" in text]


def test_where_even_that_is_too_small_measuring_is_not_blamed(client, workers, checkpoint):
    workers(replace(CPU, memory_bytes=GB // 10))
    for answer in both(client, JOB | {"measure": True}):
        assert_problem(answer, 422, "job_too_large")


def test_a_plan_says_where_the_time_is_too_short_to_measure(client, workers, checkpoint):
    workers(replace(CPU, gflops=1e-6))
    plan = client.post("/v1/plans", json=JOB | {"measure": True}).json()
    assert plan["phases"]["measuring"] == BUDGET
    assert any("measuring ends after 600 s" in text for text in plan["warnings"])


@pytest.mark.parametrize(
    "change", [{"device": "tpu"}, {"device": "cuda:x"}, {"dtype": "int8"}, {"worker_class": "A B"}]
)
def test_unknown_devices_types_and_names(client, change):
    assert client.post("/v1/jobs", json=JOB | change).status_code == 422


def test_classes_are_listed(client, workers):
    assert client.get("/v1/workers").json() == {"workers": [], "processes": []}
    workers(GPU, CPU)
    found = client.get("/v1/workers").json()["workers"]
    assert [each["name"] for each in found] == ["cpu", "gpu"]
    assert (found[1]["device_bytes"], found[1]["devices"]) == (24 * GB, 2)


def test_a_class_is_measured_once_a_day_or_when_its_machine_changes(engine):
    measured = []

    def measure(machine):
        measured.append(machine.memory_bytes)
        return replace(machine, gflops=5.0, disk_rate=7.0)

    def start(machine):
        with engine.begin() as connection:
            return machines.announce(connection, machine, measure)

    bare = replace(CPU, gflops=0.0, disk_rate=0.0)
    assert start(bare) == start(bare) == replace(CPU, gflops=5.0, disk_rate=7.0)
    start(replace(bare, memory_bytes=9))
    assert measured == [CPU.memory_bytes, 9]


def test_a_processor_that_no_worker_can_have_is_refused_by_name(client, workers, checkpoint):
    config = {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4"}
    parts = {"vision_config": {}, "text_config": {}}
    (checkpoint.parent / "config.json").write_text(json.dumps(config | parts))
    workers(CPU)
    reading = JOB | {"method": "wanda", "calibration": {"set": "scene-captions"}}
    for answer in both(client, reading):
        problem = assert_problem(answer, 422, "library_missing")
        assert "'llama4' need torchvision" in problem["detail"]
    assert both(client, JOB)[0].status_code == 200  # magnitude reads no images
    workers(replace(CPU, libraries=("torchvision", "timm")))
    plan, job = both(client, reading)
    assert plan.json()["worker_class"] == job.json()["worker_class"] == "cpu"
    [told] = client.get("/v1/workers").json()["workers"]
    assert told["libraries"] == ["torchvision", "timm"]


LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
FRUITS = JOB | {"evaluation": {"tasks": [{"harness": "lm-eval", "task": "fruits"}]}}


def test_jobs_go_to_workers_that_offer_their_tasks(client, workers, checkpoint):
    (checkpoint.parent / "config.json").write_text(json.dumps(LLAMA))
    for answer in both(client, FRUITS):  # no worker has ever started
        problem = assert_problem(answer, 422, "task_not_offered")
        assert "lm-eval/fruits; no worker runs lm-eval or lmms-eval" in problem["detail"]
    workers(CPU, replace(LARGE, tasks=("lm-eval/vegetables", "lmms-eval/colours")))
    for answer in both(client, FRUITS):
        problem = assert_problem(answer, 422, "task_not_offered")
        assert "offers lm-eval/fruits." in problem["detail"]
    workers(replace(LARGE, tasks=("lm-eval/fruits", "lmms-eval/colours")))
    plan, job = both(client, FRUITS)
    assert plan.json()["worker_class"] == job.json()["worker_class"] == "cpu-large"
    assert plan.json()["memory"]["stages"]["tasks"] > GB // 2
    assert any("tasks of harnesses" in text for text in plan.json()["warnings"])
    assert plan.json()["evaluations"] == 0
    small = FRUITS | {"worker_class": "cpu"}
    for answer in both(client, small):
        assert_problem(answer, 422, "task_not_offered")
    told = {each["name"]: each["tasks"] for each in client.get("/v1/workers").json()["workers"]}
    assert told == {"cpu": [], "cpu-large": ["lm-eval/fruits", "lmms-eval/colours"]}


def test_a_harness_that_does_not_run_the_model_is_refused(client, workers, checkpoint):
    workers(replace(CPU, tasks=("lmms-eval/colours",)))
    (checkpoint.parent / "config.json").write_text(json.dumps(LLAMA))
    asked = JOB | {"evaluation": {"tasks": [{"harness": "lmms-eval", "task": "colours"}]}}
    for answer in both(client, asked):
        problem = assert_problem(answer, 422, "task_model_unsupported")
        assert "is LlamaForCausalLM" in problem["detail"]


def test_members_of_a_sweep_are_checked_alike(client, workers, checkpoint):
    workers(CPU)
    (checkpoint.parent / "config.json").write_text(json.dumps(LLAMA))
    asked = {
        "model": FRUITS["model"],
        "methods": [{"method": "magnitude"}],
        "sparsities": [0.4, 0.5],
        "evaluation": FRUITS["evaluation"],
    }
    assert_problem(client.post("/v1/sweeps", json=asked), 422, "task_not_offered")
