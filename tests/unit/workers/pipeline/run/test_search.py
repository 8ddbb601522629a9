"""A job that looks for its sparsity: it tries, keeps the best, and survives being cut off."""

import hashlib
import json
from dataclasses import replace
from functools import partial

import pytest

from app.domain.submission import JobRequest, resolve
from app.planning.model_files.files import LocalModel
from app.planning.model_files.outlines import Outlines
from app.planning.size_target import climb
from app.recipes.evaluation import (
    Estimate,
    EvaluationReport,
    GateReport,
    Measured,
    QualityGate,
    QualityGateError,
)
from app.recipes.pruning_report import unpruned
from app.recipes.recipe import Recipe
from app.recipes.search import Ladder, Search
from app.reports.figures import percent
from tests.families import BY_NAME
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import run as run_module
from workers.pipeline.run.run import run
from workers.pipeline.run.search import Searcher

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
    assert "nothing is good enough: at sparsity 0.025, the least that was tried" in str(
        outcome.refused
    )
    assert outcome.result.search.found is None
    assert not outcome.result.evaluation.gate.passed
    card = (tmp_path / "run" / "README.md").read_text()
    assert "No share that was tried is within the gate; " in card
    report = json.loads((tmp_path / "run" / "pruning_report.json").read_text())
    assert report["search"]["found"] is None
    assert "<h2>Search</h2>" in (tmp_path / "run" / "report.html").read_text()


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


TOWERS = {
    "model": "llava",
    "calibration": {"set": "scenes", "samples": 4, "batch_size": 4},
    "evaluation": {"set": "scenes", "samples": 6, "metrics": ["kl"]},
    "quality_gate": {"metric": "kl", "max_drop": 3e-6},
}


@pytest.fixture(scope="module")
def towers(models, tmp_path_factory):
    """A run that looks for the sparsity of one tower, then of the other."""
    BY_NAME["llava"].build(models / "llava")
    both = {"vision": "auto", "language": "auto"}
    found = made(models, tmp_path_factory.mktemp("towers"), sparsity=both, **TOWERS)
    return found, run(found)


def test_one_tower_is_searched_after_the_other(towers):
    context, outcome = towers
    found = outcome.result.search
    vision, language = (
        [each for each in found.tried if each.axis == axis] for axis in ("vision", "language")
    )
    assert all(each.at_worst <= 1.5e-6 for each in vision if each.qualifies)
    assert all(each.qualifies == (each.at_worst <= 3e-6) for each in language)
    best = {
        "vision": max(each.sparsity for each in vision if each.qualifies),
        "language": max(each.sparsity for each in language if each.qualifies),
    }
    assert found.chosen == best
    assert 0 < best["language"] < best["vision"]
    assert outcome.result.modalities == pytest.approx(best, abs=1e-2)
    assert outcome.result.evaluation.gate.passed
    card = (context.staging / "README.md").read_text()
    shares = ", ".join(f"{name} {percent(best[name], 2)}" for name in ("vision", "language"))
    assert f"The largest shares within the gate: {shares}; " in card
    assert "the first had 1/2 of it" in card


def test_the_towers_are_what_pruning_to_these_sparsities_gives(towers, context):
    searched, outcome = towers
    chosen = {axis.value: share for axis, share in outcome.result.search.chosen.items()}
    plain = context(sparsity=chosen, **TOWERS)
    run(plain)
    weights = "model.safetensors"
    assert digests(searched.staging)[weights] == digests(plain.staging)[weights]


def test_scores_of_one_tower_are_not_taken_for_those_of_both(context, towers):
    ecoflap = {"method": "ecoflap", "parameters": {"samples": 4, "per_modality": True}}
    asked = {"sparsity": {"vision": "auto", "language": "auto"}}
    searched = context("searched", **TOWERS | ecoflap | asked)
    chosen = {axis.value: s for axis, s in run(searched).result.search.chosen.items()}
    plain = context("plain", **TOWERS | ecoflap | {"sparsity": chosen})
    run(plain)
    weights = "model.safetensors"
    assert digests(searched.staging)[weights] == digests(plain.staging)[weights]


def structured(context, models, drop, **changes):
    """A run that looks for the smallest structure, made with the model's shapes as a submit is."""
    asked = {"sparsity": None, "method": "width", "target_parameters": "auto"}
    asked |= {"quality_gate": gate(drop)} | changes
    found = context(**asked)
    outline = Outlines((models,), "http://127.0.0.1:1").of(LocalModel("bert"), "")
    ladders = found.spec.search.ladders if found.spec.search else ()
    search = Search(ladders=(climb(outline, found.spec.recipe), *ladders))
    recipe = search.applied(found.spec.recipe, search.first)
    update = {"search": search, "recipe": recipe}
    return replace(found, spec=found.spec.model_copy(update=update))


def test_the_smallest_structure_is_found(context, models, tmp_path):
    seen = run(structured(context, models, 1.0, name="all")).result.search
    least, most = seen.tried[0], seen.tried[-1]
    assert seen.chosen == {"structure": most.removed}
    assert [each.parameters for each in seen.tried] == sorted(
        (each.parameters for each in seen.tried), reverse=True
    )
    assert least.at_worst < most.at_worst
    between = (least.at_worst + most.at_worst) / 2
    searched = structured(context, models, between, name="some")
    outcome = run(searched)
    found = outcome.result.search
    taken = next(each for each in found.tried if each.removed == found.found)
    assert taken.qualifies
    assert taken.removed < most.removed
    assert outcome.result.structure.parameters_kept == taken.parameters
    card = (tmp_path / "some" / "README.md").read_text()
    assert "The largest share within the gate: structure " in card

    listener = Listener(last=searched.report.blocks - 1)
    cut = structured(context, models, between, name="cut", listener=listener)
    with pytest.raises(CutOffError):
        run(cut)
    (tmp_path / "again").mkdir()
    run(replace(cut, staging=tmp_path / "again", report=Listener()))
    assert digests(tmp_path / "again") == digests(searched.staging)


class Curve:
    """Stands for pruning and measuring: how much worse the model gets is a sum over the axes."""

    def __init__(self, **per_share):
        self.per_share, self.pruned = per_share, []

    def __call__(self, attempt):
        self.pruned.append(dict(attempt.chosen))
        drop = sum(self.per_share[axis] * share for axis, share in attempt.chosen.items())
        one, change = (Estimate(value=v, low=v, high=v) for v in (1.0, -drop))
        measured = Measured(samples=9, before=one, after=one, change=change)
        judged = GateReport(metric="accuracy", max_drop=0.1, drop=drop, passed=drop <= 0.1)
        told = {"set": "x", "sha256": "", "samples": 9, "metrics": {"accuracy": measured}}
        evaluation = EvaluationReport(**told, gate=judged)
        return unpruned(Recipe(sparsity=0.5)).model_copy(update={"evaluation": evaluation})


@pytest.mark.parametrize(
    ("vision", "language", "chosen"),
    [
        (0.1, 0.1, {"vision": 0.5, "language": 0.5}),
        (0.05, 0.2, {"vision": 0.95, "language": 0.25}),
        (9.0, 0.1, {"vision": 0.0, "language": 0.95}),
        (0.1, 9.0, {"vision": 0.5, "language": 0.0}),
        (9.0, 9.0, {}),
    ],
)
def test_the_second_tower_has_what_the_first_left(tmp_path, vision, language, chosen):
    search = Search(ladders=(Ladder(axis="vision"), Ladder(axis="language")))
    gate = QualityGate(metric="accuracy", max_drop=0.1)
    kept = DiskCheckpoints(tmp_path / "kept", {}, limit=1 << 20)
    curve = Curve(vision=vision, language=language)
    report = Searcher(search, gate, kept, curve, (0.0, 1.0)).run(Listener())
    found = report.search
    assert found.chosen == chosen
    assert report.evaluation.gate.passed == bool(chosen)
    assert len(found.tried) <= search.evaluations == 12
    delivered = {axis: share for axis, share in curve.pruned[-1].items() if share}
    least = {"vision": 0.025}
    assert delivered == ({axis: s for axis, s in chosen.items() if s} or least)
    assert len(list((tmp_path / "kept").glob("*%2C*/"))) <= 2
