"""A member of a sweep that this version cannot read keeps no other one from its place."""

from sqlalchemy import update

from app.db import tables
from app.recipes.evaluation import Estimate, EvaluationReport, Measured
from tests.integration.app.problem import assert_problem
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


def test_a_sweep_with_a_request_of_another_version_is_shown_and_ends(client, worker, engine):
    sweep, other = (client.post("/v1/sweeps", json=SWEEP).json()["id"] for _ in range(2))
    with engine.begin() as connection:
        query = update(tables.sweeps).where(tables.sweeps.c.id == sweep)
        connection.execute(query.values(request={"wish": "unheard of"}))
    for _ in range(2):
        worker.succeed(worker.claim(), result=result())
    listed = {each["id"]: each for each in client.get("/v1/sweeps").json()["sweeps"]}
    assert listed.keys() == {sweep, other}
    assert listed[sweep]["request"] == {"wish": "unheard of"}
    assert (listed[sweep]["status"], listed[sweep]["best_job_id"]) == ("succeeded", None)
    board = client.get(f"/v1/sweeps/{sweep}/leaderboard")
    assert_problem(board, 409, "sweep_unreadable")
    assert client.delete(f"/v1/sweeps/{sweep}").status_code == 204
