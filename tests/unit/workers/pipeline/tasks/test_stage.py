"""Tasks of harnesses in a job: figures, failures, kills. A script stands for the harness.

What the harnesses themselves say is in tests/acceptance/test_tasks.py.
"""

import json
import logging
import sys
from dataclasses import replace

import pytest

from app.domain.jobs import EventType
from app.domain.submission import JobRequest, resolve
from app.recipes.tasks import TaskFailure, TaskReport
from tests.families import BY_NAME
from tests.run_listener import Listener
from workers.pipeline.context import (
    CheckpointPlace,
    HarnessAccess,
    ModelAccess,
    RunContext,
    StoppedError,
)
from workers.pipeline.run.run import run
from workers.pipeline.tasks.offers import find_offers

TASKS = [{"harness": "lm-eval", "task": name, "limit": 5} for name in ("fruits", "roots")]
JOB = {"model": "llama", "method": "magnitude", "sparsity": 0.5, "device": "cpu"}
FIGURES = """
import json, os, sys
task = json.loads(sys.argv[-1])
with open({log!r}, "a") as log:
    print(json.dumps({{"task": task, "sees": dict(os.environ), "argv": sys.argv}}), file=log)
score = 0.75 if task["model"].endswith("llama") else None
metric = {{"value": score, "stderr": 0.1, "higher_is_better": True}}
told = {{"harness_version": "9.9", "task_version": 1.5, "samples": task.get("limit")}}
print("chatter", file=sys.stderr)
print(json.dumps(told | {{"metrics": {{"acc": metric}}}}))
"""


@pytest.fixture
def log(tmp_path):
    """What the stand-in was given, call by call."""

    def read():
        lines = (tmp_path / "calls").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def context(tmp_path):
    BY_NAME["llama"].build(tmp_path / "llama")
    (tmp_path / "made").mkdir()
    (tmp_path / "tasks" / "lm-eval").mkdir(parents=True)
    return RunContext(
        spec=resolve(JobRequest(**JOB, evaluation={"tasks": TASKS})),
        staging=tmp_path / "made",
        models=ModelAccess((tmp_path,), "http://127.0.0.1:1", tmp_path / "hub"),
        datasets=tmp_path / "datasets",
        checkpoints=CheckpointPlace(tmp_path / "checkpoints", 1 << 30),
        activation_bytes=1 << 30,
        report=Listener(),
        harnesses=HarnessAccess({}, tmp_path / "tasks", (), network=False, seconds=60.0),
    )


@pytest.fixture
def harness(context, tmp_path):
    """Puts a script in the place of the interpreter that has lm-eval; returns the run with it."""

    def put(text=FIGURES, **access):
        script, program = tmp_path / "script.py", tmp_path / "python"
        script.write_text(text.format(log=str(tmp_path / "calls")) if text is FIGURES else text)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
        program.chmod(0o755)
        given = replace(context.harnesses, interpreters={"lm-eval": program}, **access)
        return replace(context, harnesses=given)

    return put


def test_both_models_are_run_and_told(harness, log):
    context = harness()
    result = run(context).result
    first, second = result.tasks
    assert isinstance(first, TaskReport)
    assert (first.harness, first.task, first.samples) == ("lm-eval", "fruits", 5)
    assert (first.harness_version, first.task_version) == ("9.9", "1.5")
    assert first.metrics["acc"].before.value == 0.75
    assert first.metrics["acc"].after.value is None  # NaN, say
    assert second.task == "roots"
    report = json.loads((context.staging / "pruning_report.json").read_text())
    assert report["tasks"][0] == first.model_dump(mode="json")
    card = (context.staging / "README.md").read_text()
    assert "| lm-eval/fruits | 1.5 | acc | 5 | 0.75 (± 0.1) | no finite number | " in card
    assert "Run by lm-eval 9.9" in card
    assert "lm-eval/roots" in (context.staging / "report.html").read_text()
    told = [e for e in context.report.events if e.type is EventType.METRIC]
    assert [each.data["metric"] for each in told] == ["lm-eval/fruits acc", "lm-eval/roots acc"]
    assert context.report.phases.count("evaluating") == 1
    assert context.report.shares == sorted(context.report.shares)
    models = [call["task"]["model"].rsplit("/", 1)[1] for call in log()]
    assert models == ["llama", "made"] * 2


def test_it_sees_no_secret_no_network_and_none_of_our_modules(harness, log, monkeypatch):
    secrets = ("SECATEUR_DATABASE__URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY")
    for name in (*secrets, "PYTHONPATH", "HF_HOME"):
        monkeypatch.setenv(name, "/nowhere")
    run(harness())
    for call in log():
        assert call["sees"]["HF_DATASETS_OFFLINE"] == call["sees"]["HF_HUB_OFFLINE"] == "1"
        assert call["sees"]["HF_HOME"] == "/nowhere"
        assert not {*secrets, "PYTHONPATH"} & call["sees"].keys()
        assert call["argv"][1] == "-I"


def test_with_a_network_it_finds_its_way_out_and_has_no_token(harness, log, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    run(harness(network=True))
    sees = log()[0]["sees"]
    assert sees["HTTPS_PROXY"] == "http://127.0.0.1:1"
    assert not {"HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"} & sees.keys()
    # A login that is kept in HF_HOME is sent to a hub otherwise.
    assert sees["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


@pytest.mark.parametrize(
    ("text", "code", "seconds"),
    [
        ("raise SystemExit(3)", "task_failed", 60),
        ('print(\'{"error": "KeyError", "out_of_memory": false}\')', "task_failed", 60),
        ("print('no json')", "task_failed", 60),
        ("print('{}')", "task_failed", 60),
        ('print(\'{"error": "E", "out_of_memory": true}\')', "task_out_of_memory", 60),
        ("import time; time.sleep(600)", "task_timed_out", 1),
    ],
)
def test_a_task_that_fails_costs_no_result(harness, text, code, seconds):
    context = harness(text, seconds=seconds)
    result = run(context).result
    assert [each.code for each in result.tasks] == [code, code]
    assert isinstance(result.tasks[0], TaskFailure)
    assert any(f"lm-eval/fruits has no figures ({code})" in each for each in result.warnings)
    assert [e.data["code"] for e in context.report.events if e.data.get("code")] == [code, code]
    assert code in (context.staging / "README.md").read_text()
    assert code in (context.staging / "report.html").read_text()
    assert (context.staging / "manifest.json").exists()


def test_a_worker_without_the_harness_says_so(context, harness, tmp_path):
    assert [each.code for each in run(context).result.tasks] == ["task_not_offered"] * 2
    gone = harness()
    (tmp_path / "python").unlink()
    again = tmp_path / "again"
    again.mkdir()
    found = run(replace(gone, staging=again)).result.tasks
    assert [each.code for each in found] == ["task_failed"] * 2


def test_what_was_run_is_not_run_again(harness, log, tmp_path):
    context = harness()
    run(context)
    assert len(log()) == 4
    kept = sorted((tmp_path / "checkpoints").glob("task*"))
    assert len(kept) == 4
    kept[-1].unlink()  # the result in the last task: where a worker was killed
    again = tmp_path / "again"
    again.mkdir()
    found = run(replace(context, staging=again)).result
    assert len(log()) == 5
    assert log()[-1]["task"]["task"] == "roots"
    assert [each.metrics["acc"].before.value for each in found.tasks] == [0.75, 0.75]


def test_a_cancelled_job_is_cancelled(harness):
    context = harness("import time; time.sleep(600)")
    context.report.stop_in = "evaluating"
    with pytest.raises(StoppedError):
        run(context)


def test_a_worker_offers_what_loads(harness, caplog):
    told = {"tasks": ["fruits", "no.name", "../x"], "left_out": {"roots": "no data"}}
    access = harness(f"print({json.dumps(json.dumps(told))})").harnesses
    with caplog.at_level(logging.WARNING):
        assert find_offers(access) == ("lm-eval/fruits",)
    assert "lm-eval/roots is not offered: no data" in caplog.text


def test_a_worker_offers_all_that_loads(harness):
    told = {"tasks": [f"task-{number}" for number in range(3000)], "left_out": {}}
    assert len(find_offers(harness(f"print({json.dumps(json.dumps(told))})").harnesses)) == 3000


@pytest.mark.parametrize("text", ["raise SystemExit(1)", "print('{}')", "print('x')"])
def test_a_harness_that_fails_offers_nothing(harness, text, caplog):
    with caplog.at_level(logging.WARNING):
        assert find_offers(harness(text).harnesses) == ()
    assert "lm-eval is not offered" in caplog.text


def test_the_harness_is_told_which_of_its_own_tasks_to_offer(harness, log):
    access = harness(offered=("lm-eval/hellaswag", "lmms-eval/mme")).harnesses
    find_offers(access)
    task = log()[0]["task"]
    assert (task["do"], task["names"], task["local"]) == ("offer", ["hellaswag"], True)
