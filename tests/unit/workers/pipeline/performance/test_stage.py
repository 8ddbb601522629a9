"""A job whose result cannot be measured has it all the same, and says why."""

import json

import pytest

from app.domain.jobs import EventType
from app.domain.submission import JobRequest, resolve
from app.recipes.performance import NotMeasured
from tests.families import BY_NAME
from tests.run_listener import Listener
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext, StoppedError
from workers.pipeline.performance import process, stage, turns
from workers.pipeline.run.run import run


@pytest.fixture
def context(tmp_path):
    BY_NAME["llama"].build(tmp_path / "llama")
    asked = {"model": "llama", "method": "magnitude", "sparsity": 0.5, "device": "cpu"}
    (tmp_path / "made").mkdir()
    return RunContext(
        spec=resolve(JobRequest(**asked, measure=True)),
        staging=tmp_path / "made",
        models=ModelAccess((tmp_path,), "http://127.0.0.1:1", tmp_path / "hub"),
        datasets=tmp_path / "datasets",
        checkpoints=CheckpointPlace(tmp_path / "checkpoints", 1 << 30),
        activation_bytes=1 << 30,
        report=Listener(),
    )


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Puts other code in the place of the processes' own."""

    def put(text):
        (tmp_path / "other_model_process.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(process, "_MODULE", "other_model_process")

    return put


def unmeasured(context, code):
    result = run(context).result
    assert isinstance(result.performance, NotMeasured)
    assert result.performance.code == code
    assert any(code in warning for warning in result.warnings)
    (event,) = [each for each in context.report.events if each.data.get("code") == code]
    assert event.type is EventType.WARNING
    report = json.loads((context.staging / "pruning_report.json").read_text())
    assert report["performance"]["code"] == code
    assert code in (context.staging / "README.md").read_text()
    assert code in (context.staging / "report.html").read_text()
    assert (context.staging / "manifest.json").exists()


def test_a_process_that_dies(context, other):
    other("raise SystemExit(1)")
    unmeasured(context, "measuring_failed")


def test_a_process_that_hangs(context, other, monkeypatch):
    monkeypatch.setattr(stage, "BUDGET", 1.0)
    other("import time\ntime.sleep(600)\n")
    unmeasured(context, "measuring_timed_out")


def test_a_model_without_a_tokenizer(context, tmp_path):
    for file in (tmp_path / "llama").glob("token*"):
        file.unlink()
    unmeasured(context, "measuring_no_inputs")


def test_what_nobody_foresaw(context, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(stage, "make_inputs", fail)
    unmeasured(context, "measuring_failed")


def test_a_cancelled_job_is_cancelled(context):
    context.report.stop_in = "measuring"
    with pytest.raises(StoppedError):
        run(context)


def test_where_memory_holds_one_model_each_is_loaded_anew(context, monkeypatch):
    monkeypatch.setattr(turns, "ROUNDS", 2)
    # A process with libraries alone takes more than half of it.
    monkeypatch.setattr(stage, "free_bytes", lambda *_of: 700 << 20)
    found = run(context).result.performance
    assert (found.together, found.rounds) == (False, 2)
    assert found.bytes.ratio == 1


def test_what_is_measured_is_what_is_delivered(context):
    found = run(context).result.performance
    assert found.bytes.ratio == 1
    assert found.seconds.keys() == {"prefill", "decode"}
    assert context.report.phases[-1] == "measuring"
    assert context.report.shares == sorted(context.report.shares)
    assert not [each for each in context.report.events if "measured" in each.message]
