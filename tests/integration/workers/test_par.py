"""PAR of families that the acceptance tests do not take through HTTP, from row to router."""

import pytest

from app.db import jobs
from app.domain.jobs import JobStatus, NewJob
from app.domain.projects import DEFAULT_PROJECT
from app.domain.submission import JobRequest, resolve
from benchmarks.families import processors
from workers.pipeline.run import route
from workers.pruning.routing import learning

LAYERS = {
    "text_config.num_hidden_layers": 6,
    "text_config.layer_types": ["full_attention"] * 6,
    "text_config.sliding_window": None,
}
PARTS = ("training", "choosing")


@pytest.mark.parametrize("kind", ["llava_onevision", "mistral3"])
def test_a_router_is_trained_and_shipped(kind, engine, runner, tmp_path, monkeypatch):
    given = {}

    def learn(*args, **options):
        given.update(options)
        return learning.learn(*args, **options)

    monkeypatch.setattr(route, "learn", learn)
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
    assert found.records == {"train": 10, "choose": 1, "judge": 1}
    # Only the pictures that are trained on are asked a second question.
    prompts = {part: sum(len(batch.places) for batch in given[part]) for part in PARTS}
    assert prompts == {"training": 20, "choosing": 1}
