"""A member of a sweep that this version cannot read keeps no other one from its place."""

from app.recipes.evaluation import Estimate, EvaluationReport, Measured
from tests.integration.app.rows import put

SWEEP = {
    "model": "tiny",
    "methods": [{"method": "magnitude"}],
    "sparsities": [0.5, 0.6],
    "evaluation": {"set": "scenes"},
    "objective": {"metric": "accuracy"},
}
STRANGE = {"method": "of-another-version", "recipe": {"shape": "unheard of"}}


def result():
    estimate = Estimate(value=0.5, low=0.4, high=0.6)
    measured = Measured(samples=9, before=estimate, after=estimate, change=estimate)
    report = EvaluationReport(set="scenes", sha256="0", samples=9, metrics={"accuracy": measured})
    return {"sparsity": 0.6, "evaluation": report.model_dump(mode="json")}


def test_the_leaderboard_has_both_and_the_best_is_found(client, worker, engine):
    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    strange, plain = worker.claim(), worker.claim()
    worker.succeed(strange)
    with engine.begin() as connection:
        put(connection, strange.id, spec=STRANGE, result={"sparsity": "much"})
    worker.succeed(plain, result=result())
    found = client.get(f"/v1/sweeps/{sweep}").json()
    assert (found["status"], found["best_job_id"]) == ("succeeded", plain.id)
    first, last = client.get(f"/v1/sweeps/{sweep}/leaderboard").json()["standings"]
    assert (first["job_id"], first["sparsity"], first["value"]) == (plain.id, 0.6, 0.5)
    assert first["recipe"]["sparsity"] == 0.6
    assert (last["job_id"], last["method"]) == (strange.id, "of-another-version")
    assert last["recipe"] == STRANGE["recipe"]
    assert {last[name] for name in ("sparsity", "value", "drop", "bytes", "seconds")} == {None}
    assert client.delete(f"/v1/sweeps/{sweep}").status_code == 204
