"""PAR of families that the acceptance tests do not take through HTTP, from row to router."""

import pytest

from app.db import jobs
from app.domain.jobs import JobStatus, NewJob
from app.domain.projects import DEFAULT_PROJECT
from app.domain.submission import JobRequest, resolve
from benchmarks.families import processors

LAYERS = {
    "text_config.num_hidden_layers": 6,
    "text_config.layer_types": ["full_attention"] * 6,
    "text_config.sliding_window": None,
}


@pytest.mark.parametrize("kind", ["llava_onevision", "mistral3"])
def test_a_router_is_trained_and_shipped(kind, engine, runner, tmp_path):
    processors.write(kind, tmp_path / "models" / kind, LAYERS)
    request = JobRequest(
        model=kind,
        method="par",
        parameters={
            "tokens": 0.5,
            "layers": 5,
            "rounds": 1,
            "candidates": 2,
            "epochs": 1,
            "answer_tokens": 2,
            "allow_no_improvement": True,
        },
        calibration={"set": "scenes", "samples": 12, "batch_size": 4},
        device="cpu",
    )
    new = NewJob(request=request, spec=resolve(request), max_attempts=1)
    with engine.begin() as connection:
        job, _ = jobs.queue(connection, new, key_id="", action=None)
    assert runner.run(job.id)
    with engine.connect() as connection:
        done = jobs.get(connection, DEFAULT_PROJECT, job.id)
    assert done.status is JobStatus.SUCCEEDED, done.error
    found = done.result.routing
    assert (found.tokens, found.layers, found.of_layers) == (0.5, 5, 6)
