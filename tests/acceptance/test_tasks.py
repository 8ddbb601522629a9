"""Tasks of the real lm-eval and lmms-eval in jobs over HTTP, each with a local task file."""

import json
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from PIL import Image

from app.local.installation import installation
from app.local.valkey import free_port
from app.settings import Settings
from tests.acceptance.conftest import Service, commands
from tests.families import BY_NAME

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-evaluation" / "bin" / "python"
pytestmark = [
    pytest.mark.skipif(
        not (PYTHON.parents[1] / "installed").exists(), reason="`make env-evaluation` was not run"
    ),
    pytest.mark.timeout(600),
]

FRUITS = """
task: fruits
dataset_path: json
dataset_kwargs:
  data_files: {test: fruits.jsonl}
test_split: test
output_type: multiple_choice
doc_to_text: "The colour of {{fruit}} is"
doc_to_choice: [red, yellow, green]
doc_to_target: "{{label}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.5}
"""
COLOURS = """
task: colours
dataset_path: json
dataset_kwargs:
  data_files: {test: colours.jsonl}
test_split: test
output_type: generate_until
doc_to_visual: !function colours.picture
doc_to_text: What colour is it?
doc_to_target: "{{answer}}"
generation_kwargs: {max_new_tokens: 3}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 2.0}
"""
PICTURE = """
from pathlib import Path

from PIL import Image


def picture(doc):
    return [Image.open(Path(__file__).with_name(doc["image"])).convert("RGB")]
"""
SLOW = PICTURE.replace("    return", "    import time\n\n    time.sleep(1)\n    return")
JOB = {"method": "magnitude", "sparsity": 0.5, "device": "cpu"}


def write_tasks(directory):
    """One task of each harness, one of a slow one, and one whose records are not there."""
    texts, images = directory / "lm-eval", directory / "lmms-eval"
    for each in (texts, images):
        each.mkdir(parents=True)
    (texts / "fruits.yaml").write_text(FRUITS)
    (texts / "lost.yaml").write_text(FRUITS.replace("fruits", "lost"))
    fruits = [{"fruit": f"fruit {number}", "label": number % 3} for number in range(12)]
    (texts / "fruits.jsonl").write_text("\n".join(map(json.dumps, fruits)))
    (images / "colours.yaml").write_text(COLOURS)
    (images / "slow.yaml").write_text(
        COLOURS.replace("task: colours", "task: slow").replace("colours.picture", "slow.picture")
    )
    (images / "colours.py").write_text(PICTURE)
    (images / "slow.py").write_text(SLOW)
    records = []
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        Image.new("RGB", (24, 24), colour).save(images / f"{number}.png")
        records.append({"image": f"{number}.png", "answer": colour})
    (images / "colours.jsonl").write_text("\n".join(map(json.dumps, records)))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    for name in ("llama", "llava"):
        BY_NAME[name].build(models / name)
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    write_tasks(directory / "tasks")
    settings = Settings(
        data_dir=directory,
        models={"roots": (models,)},
        api={"port": free_port()},
        worker={"lease_seconds": 3, "heartbeat_seconds": 0.5, "kill_seconds": 10},
        tasks={
            "lm_eval": str(PYTHON),
            "lmms_eval": str(PYTHON),
            "offered": "lm-eval/hellaswag",
            "seconds": 120,
        },
        telemetry={"metrics_port": free_port()},
    )
    with installation(settings, report=print) as running:
        service = Service(running)
        deadline = time.monotonic() + 240
        while not workers(service):  # it offers what it has found, and then takes jobs
            assert time.monotonic() < deadline
            running.tend(0.2)
        yield service
        service.http.close()
    shutil.rmtree(directory)


def workers(service):
    return service.http.get("/v1/workers").json()["workers"]


def task(harness, name, **others):
    return {"harness": harness, "task": name, **others}


def test_a_worker_offers_the_tasks_whose_records_are_there(service):
    [worker] = workers(service)
    assert worker["tasks"] == ["lm-eval/fruits", "lmms-eval/colours", "lmms-eval/slow"]


@pytest.mark.parametrize("name", ["lost", "hellaswag", "nothing"])
def test_a_task_that_is_not_there_is_refused(service, name):
    asked = JOB | {"model": "llama", "evaluation": {"tasks": [task("lm-eval", name)]}}
    for path in ("/v1/plans", "/v1/jobs"):
        answer = service.http.post(path, json=asked)
        assert (answer.status_code, answer.json()["code"]) == (422, "task_not_offered")


@pytest.mark.parametrize(
    ("model", "asked", "metric", "samples"),
    [
        ("llama", task("lm-eval", "fruits", limit=9, batch_size=4), "acc", 9),
        ("llava", task("lm-eval", "fruits"), "acc", 12),
        ("llava", task("lmms-eval", "colours", limit=2), "exact_match", 2),
    ],
)
def test_both_models_are_run(service, tmp_path, model, asked, metric, samples):
    evaluation = {"set": "scenes" if model == "llava" else "sentences", "samples": 4}
    job = JOB | {"model": model, "evaluation": evaluation | {"tasks": [asked]}}
    done = service.finish(service.submit(**job), seconds=240)
    assert done["status"] == "succeeded", done
    assert done["result"]["evaluation"]["samples"] == 4
    [found] = done["result"]["tasks"]
    assert (found["harness"], found["task"]) == (asked["harness"], asked["task"]), found
    assert found["samples"] == samples
    versions = {"lm-eval": "1.5", "lmms-eval": "2.0"}
    assert found["task_version"] == versions[asked["harness"]]
    place = str(next(PYTHON.parents[1].glob("lib/python*/site-packages")))
    [package] = metadata.distributions(name=asked["harness"].replace("-", "_"), path=[place])
    assert found["harness_version"] == package.version
    figures = found["metrics"][metric]
    assert figures["higher_is_better"]
    assert 0 <= figures["before"]["value"] <= 1
    assert 0 <= figures["after"]["stderr"] <= 1
    directory = service.download(done["id"], tmp_path)
    report = json.loads((directory / "pruning_report.json").read_text())
    assert report["tasks"] == [found]
    assert f"{asked['harness']}/{asked['task']}" in (directory / "README.md").read_text()


def processes(service):
    """The worker's child, and the command line of each process of a harness below it."""
    run = service.running.settings.data_dir / "run" / "worker"
    (child,) = psutil.Process(int(run.read_text().split()[0])).children()
    below = child.children(recursive=True)
    return child, commands(str(PYTHON), below)


def in_a_task(service):
    asked = [task("lm-eval", "fruits"), task("lmms-eval", "slow")]
    job_id = service.submit(**JOB, model="llava", evaluation={"tasks": asked})

    def until(_job):
        told = any("fruits acc" in message for message in service.messages(job_id))
        return told and processes(service)[1]

    service.wait(job_id, until, seconds=240)
    return job_id


def test_a_job_whose_worker_is_killed_goes_on_with_the_task(service):
    job_id = in_a_task(service)
    child, harnesses = processes(service)
    os.kill(child.pid, signal.SIGKILL)
    assert not psutil.wait_procs(harnesses, timeout=30)[1]
    seen = set()

    def until(job):
        with suppress(psutil.NoSuchProcess, ValueError):  # the child is being replaced
            seen.update(line[-1] for line in processes(service)[1].values())
        return job["status"] in {"succeeded", "failed"}

    done = service.wait(job_id, until, seconds=240)
    assert done["status"] == "succeeded", done
    assert done["attempt"] == 2
    assert [each["task"] for each in done["result"]["tasks"]] == ["fruits", "slow"]
    assert {json.loads(each)["task"] for each in seen} == {"slow"}


def test_a_job_that_is_cancelled_ends_with_the_task(service):
    job_id = in_a_task(service)
    _, harnesses = processes(service)
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    assert service.finish(job_id, seconds=60)["status"] == "cancelled"
    assert not psutil.wait_procs(harnesses, timeout=30)[1]
