"""Answers quote the client's records: files have them only where the job asks for them."""

import json

import pytest

from app.domain.submission import JobRequest, resolve
from tests.families import BY_NAME
from tests.run_listener import Listener
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run.run import run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    BY_NAME["llava"].build(directory / "llava")
    return directory


@pytest.mark.parametrize(("asked", "shown", "written"), [(None, 6, 0), (2, 2, 2), (0, 0, 0)])
def test_files_have_the_answers_that_were_asked_for(models, tmp_path, asked, shown, written):
    evaluation = {"set": "scenes", "samples": 6, "metrics": ["accuracy"], "max_new_tokens": 2}
    if asked is not None:
        evaluation["sample_answers"] = asked
    request = JobRequest(
        model="llava", method="magnitude", sparsity=0.5, device="cpu", evaluation=evaluation
    )
    staging = tmp_path / "made"
    staging.mkdir()
    context = RunContext(
        spec=resolve(request),
        staging=staging,
        models=ModelAccess((models,), "http://127.0.0.1:1", tmp_path / "hub"),
        datasets=tmp_path / "datasets",
        checkpoints=CheckpointPlace(tmp_path / "checkpoints", 1 << 30),
        activation_bytes=1 << 30,
        report=Listener(),
    )
    answers = run(context).result.evaluation.answers
    assert len(answers) == shown
    report = json.loads((staging / "pruning_report.json").read_text())
    assert len(report["evaluation"]["answers"]) == written
    page = (staging / "report.html").read_text()
    assert ("Answers" in page) is bool(written)
    texts = [file.read_text() for file in staging.iterdir() if file.suffix in {".json", ".md"}]
    prompts = {each.prompt for each in answers}
    assert any(prompt in text for prompt in prompts for text in texts) is bool(written)
