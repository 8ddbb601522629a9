"""Results of both kinds are stored and read again as they were reported."""

import json

import pytest

from app.domain.job_result import EarlierFigures, JobResult, Sizes
from app.recipes.evaluation import Estimate, EvaluationReport, Measured, MetricName
from app.recipes.modality import Modality
from app.recipes.routing_report import PolicyReport, RoutingFigures, RoutingGate

ESTIMATE = Estimate(value=0.5, low=0.4, high=0.6)
EVALUATION = EvaluationReport(
    set="scenes",
    sha256="0",
    samples=9,
    metrics={
        MetricName.ACCURACY: Measured(samples=9, before=ESTIMATE, after=ESTIMATE, change=ESTIMATE)
    },
)
WEIGHTS = JobResult(
    sparsity=0.5,
    weights=10,
    zeros=5,
    target=5,
    difference=0,
    modalities={Modality.LANGUAGE: 0.5},
    warnings=("few records",),
    evaluation=EVALUATION,
    sizes=Sizes(dense=20, packed=11, elements=10, nonzeros=5),
    seconds=1.5,
)
ROUTING = JobResult(
    routing=RoutingFigures(
        tokens=0.3,
        layers=6,
        of_layers=8,
        flops_ratio=0.4,
        typical_prompt={"text": 20},
        records={"train": 100},
        rounds=(),
        chosen=0,
        profiles={},
        policies={"router": PolicyReport(kl=ESTIMATE, agreement=ESTIMATE, exact=ESTIMATE)},
        gate=RoutingGate(beaten=("random",), unbeaten=(), records=60, allow_no_improvement=False),
    ),
    warnings=(),
    seconds=2.5,
)


@pytest.mark.parametrize("result", [WEIGHTS, ROUTING], ids=["weights", "routing"])
def test_it_is_read_as_it_was_reported(result):
    stored = json.loads(json.dumps(result.to_json()))
    assert JobResult.model_validate(stored) == result
    assert JobResult.model_validate(stored).to_json() == stored


def test_what_was_not_reported_is_not_stored_and_what_is_has_all_of_its_parts():
    assert ROUTING.to_json().keys() == {"routing", "warnings", "seconds"}
    evaluation = WEIGHTS.to_json()["evaluation"]
    assert (evaluation["gate"], evaluation["warnings"]) == (None, [])
    timed = JobResult(sparsity=0.5).model_copy(update={"seconds": 1.0})
    assert timed.to_json() == {"sparsity": 0.5, "seconds": 1.0}


def test_what_other_versions_report_is_kept():
    stored = {
        "sparsity": 0.5,
        "entropy": {"layers": [1, 2]},
        "routing": {"flops_ratio": 0.4, "gate": {"taken_anyway": True}},
    }
    found = JobResult.model_validate(stored)
    assert (found.sparsity, found.seconds, found.sizes) == (0.5, None, None)
    assert isinstance(found.routing, EarlierFigures)
    assert found.to_json() == stored
