"""A job whose whole model is trained in the end: along the dense answers, told to every reader."""

import json

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.submission import JobRequest, resolve
from app.recipes.evaluation import QualityGateError
from tests.families import BY_NAME
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import recovery
from workers.pipeline.run.run import run

REQUEST = {
    "model": "llava",
    "method": "magnitude",
    "sparsity": 0.5,
    "device": "cpu",
    "calibration": {"set": "scenes", "samples": 6, "batch_size": 2},
    "recovery": {"scope": "model", "steps": 4},
}


class CutOffError(Exception):
    """The run ends here."""


class Listener:
    """Keeps what a run tells; may end it at a look."""

    def __init__(self, last=None):
        self.told, self.phases, self.left = [], [], last

    def event(self, event):
        self.told.append(event.message)

    def phase(self, phase):
        self.phases.append(phase.value)

    def kept(self):
        if self.left is not None and self.phases[-1] == "training":
            self.left -= 1
            if not self.left:
                raise CutOffError

    def progress(self, share): ...

    def check(self): ...

    def wait(self, seconds): ...


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    for name in ("llava", "bert"):
        BY_NAME[name].build(directory / name)
    return directory


@pytest.fixture
def context(models, tmp_path):
    def made(name="made", listener=None, **changes):
        (tmp_path / name).mkdir()
        return RunContext(
            spec=resolve(JobRequest.model_validate(REQUEST | changes)),
            staging=tmp_path / name,
            models=ModelAccess((models,), "http://127.0.0.1:1", tmp_path / "hub"),
            datasets=tmp_path / "datasets",
            checkpoints=CheckpointPlace(tmp_path / "checkpoints", 1 << 30),
            activation_bytes=1 << 30,
            report=listener or Listener(),
        )

    return made


def weights(directory):
    return safetensors.torch.load_file(directory / "model.safetensors")


def test_it_learns_the_dense_answers_and_says_so(context, monkeypatch):
    lessons = []
    known = recovery.learn_by_heart

    def seen(adapter, some):
        lessons.extend(some)
        return known(adapter, some)

    monkeypatch.setattr(recovery, "learn_by_heart", seen)
    made = context()
    run(made)
    for lesson in lessons:  # all of what the model wrote itself, and some of the prompt
        written = lesson.inputs["attention_mask"].bool()
        assert not (lesson.counted & ~written)[:, :-1].any()
        assert not lesson.counted[:, -1].any()
        most = recovery.ANSWER_TOKENS + recovery.OTHER_TOKENS
        assert 2 < int(lesson.counted.sum(1).max()) <= most
    report = json.loads((made.staging / "pruning_report.json").read_text())
    assert report["recovery"]["after"] <= report["recovery"]["before"]
    assert report["model"]["zeros"] == report["model"]["asked"]
    assert any("distance from the dense model" in text for text in made.report.told)
    assert "rain" in (made.staging / "README.md").read_text()
    assert "training" in made.report.phases


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4), left=st.booleans())
def test_tokens_of_a_prompt_that_count_are_spread_evenly(lengths, left):
    width = max(lengths) + 1
    columns = torch.arange(width)
    real = torch.stack(
        [columns >= width - each if left else columns < each for each in lengths]
    ).long()
    found = recovery.spread(real)
    assert not found[:, -1].any()
    for row, chosen in zip(real, found, strict=True):
        able = row[:-1].nonzero().flatten()
        places = chosen.nonzero().flatten()
        assert len(places) == min(len(able), recovery.OTHER_TOKENS)
        assert set(places.tolist()) <= set(able.tolist())
        if len(places) > 1:
            gaps = places.diff()
            assert int(gaps.max() - gaps.min()) <= 1


def test_cut_off_in_its_training_it_goes_on_with_the_same_bits(context):
    whole = context("whole")
    run(whole)
    (whole.checkpoints.directory).rename(whole.checkpoints.directory.with_name("other"))
    with pytest.raises(CutOffError):
        run(context("first", Listener(last=4)))
    again = context("second")
    run(again)
    found = weights(again.staging)
    for name, values in weights(whole.staging).items():
        assert torch.equal(found[name], values), name


def test_each_try_of_a_search_is_trained_towards_the_dense_model(context):
    made = context(
        model="bert",
        method="wanda",
        sparsity="auto",
        calibration={"set": "sentences", "samples": 8, "batch_size": 2},
        evaluation={"set": "sentences", "samples": 8},
        quality_gate={"metric": "similarity", "max_drop": 0.0, "keep_artifacts": True},
        recovery={"scope": "model", "steps": 1},
    )
    found = run(made)
    assert isinstance(found.refused, QualityGateError | None)
    told = [text for text in made.report.told if "distance from the dense model" in text]
    assert len(told) == len(found.result.search.tried)


@pytest.mark.parametrize(
    "how",
    [
        {"structure": [{"kind": "width", "mlp_removed": 0.5}]},
        {"method": "width", "sparsity": None},
        {"method": "depth", "sparsity": None, "parameters": {"removed": 0.5, "ends": True}},
    ],
)
def test_what_is_left_of_a_reduced_model_is_trained(context, how):
    made = context(**how)
    run(made)
    report = json.loads((made.staging / "pruning_report.json").read_text())
    assert report["recovery"]["after"] <= report["recovery"]["before"]
    assert report["structure"]["parameters_kept"] < report["structure"]["parameters"]
    model = transformers.AutoModelForImageTextToText.from_pretrained(made.staging)
    assert sum(p.numel() for p in model.parameters()) == report["structure"]["parameters_kept"]
