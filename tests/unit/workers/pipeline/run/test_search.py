"""A job that looks for its sparsity: it tries, keeps the best, and survives being cut off."""

import hashlib
import json
from dataclasses import replace
from functools import partial

import pytest

from app.domain.submission import JobRequest, resolve
from app.recipes.evaluation import QualityGateError
from tests.families import BY_NAME
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import run as run_module
from workers.pipeline.run.run import run

REQUEST = {
    "model": "bert",
    "method": "wanda",
    "sparsity": "auto",
    "calibration": {"samples": 8, "batch_size": 8},
    "evaluation": {"set": "sentences", "samples": 16},
    "device": "cpu",
}


SMALL = 1.1e-5  # random weights hardly move the embeddings


class CutOffError(Exception):
    """The run ends here."""


class Listener:
    """Keeps what a run tells; may end it at the block of a given number."""

    def __init__(self, last=None):
        self.tries, self.shares, self.blocks, self.last = [], [], 0, last

    def event(self, event):
        if "qualifies" in event.data:
            self.tries.append(event.data["sparsity"])
        if event.type == "block":
            self.blocks += 1
            if self.blocks == self.last:
                raise CutOffError

    def phase(self, phase): ...

    def progress(self, share):
        self.shares.append(share)

    def check(self): ...

    def wait(self, seconds): ...

    def kept(self): ...


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    BY_NAME["bert"].build(directory / "bert")
    return directory


def made(models, directory, name="run", listener=None, **changes):
    request = JobRequest.model_validate(REQUEST | changes)
    (directory / name).mkdir()
    return RunContext(
        spec=resolve(request),
        staging=directory / name,
        models=ModelAccess((models,), "http://127.0.0.1:1", directory / "hub"),
        datasets=directory / "datasets",
        checkpoints=CheckpointPlace(directory / f"checkpoints-{name}", 1 << 24),
        activation_bytes=1 << 30,
        report=listener or Listener(),
        request=request,
    )


@pytest.fixture
def context(models, tmp_path):
    return partial(made, models, tmp_path)


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    """A run that nothing cut off: its context and its outcome."""
    found = made(models, tmp_path_factory.mktemp("whole"), quality_gate=gate(SMALL))
    return found, run(found)


def gate(most):
    return {"metric": "similarity", "max_drop": most, "keep_artifacts": True}


def digests(directory):
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_it_delivers_the_sparsest_it_found_good(whole):
    _, outcome = whole
    found = outcome.result.search
    assert outcome.refused is None
    assert found.found == max(each.sparsity for each in found.tried if each.qualifies)
    assert found.found != whole[0].report.tries[-1], "the best is not the last"
    assert len(found.tried) <= 6
    assert outcome.result.sparsity == pytest.approx(found.found, abs=1e-3)
    assert outcome.result.evaluation.gate.passed


def test_it_is_the_model_that_pruning_to_that_sparsity_gives(whole, context):
    searched, outcome = whole
    plain = context(sparsity=outcome.result.search.found, quality_gate=gate(SMALL))
    again = run(plain)
    weights = "model.safetensors"
    assert digests(searched.staging)[weights] == digests(plain.staging)[weights]
    assert outcome.result.evaluation.metrics == again.result.evaluation.metrics


@pytest.mark.parametrize("blocks", [3, 9])
def test_it_goes_on_where_it_was_cut_off_and_comes_to_the_same_bits(
    whole, context, tmp_path, blocks
):
    first = context("cut", Listener(last=blocks), quality_gate=gate(SMALL))
    with pytest.raises(CutOffError):
        run(first)
    listener = Listener()
    (tmp_path / "again").mkdir()
    run(replace(first, staging=tmp_path / "again", report=listener))
    assert digests(tmp_path / "again") == digests(whole[0].staging)
    assert listener.tries == whole[0].report.tries
    assert listener.blocks == whole[0].report.blocks - blocks
    assert listener.shares == sorted(listener.shares)


def test_where_none_is_good_enough_it_says_so(context, tmp_path):
    outcome = run(context(quality_gate=gate(0)))
    assert isinstance(outcome.refused, QualityGateError)
    assert "no sparsity is good enough: at 0.025, the least that was tried" in str(outcome.refused)
    assert outcome.result.search.found is None
    assert not outcome.result.evaluation.gate.passed
    card = (tmp_path / "run" / "README.md").read_text()
    assert "None of the sparsities that were tried is good enough" in card
    report = json.loads((tmp_path / "run" / "pruning_report.json").read_text())
    assert report["search"]["found"] is None
    assert "Sparsities tried" in (tmp_path / "run" / "report.html").read_text()


def test_scores_of_the_dense_model_are_measured_once(context, monkeypatch):
    asked = []
    prune = run_module.prune

    def spy(adapter, recipe, batches, report, scores, **options):
        asked.append(scores)
        return prune(adapter, recipe, batches, report, scores, **options)

    monkeypatch.setattr(run_module, "prune", spy)
    ecoflap = {"method": "ecoflap", "parameters": {"samples": 4}}
    run(context(quality_gate=gate(SMALL), **ecoflap))
    assert asked[0] is None
    assert len(asked) > 3
    assert all(each is not None for each in asked[1:])
