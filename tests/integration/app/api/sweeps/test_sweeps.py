"""Sweeps over HTTP: made as a whole, followed, ranked, cancelled and deleted as a whole."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.domain.jobs import Artifact
from app.recipes.evaluation import Estimate, EvaluationReport, Measured
from tests.integration.app.problem import assert_problem

MAGNITUDE = {"method": "magnitude"}
SWEEP = {
    "model": "tiny",
    "methods": [MAGNITUDE, {"method": "multiflow"}],
    "sparsities": [0.5, 0.6, 0.7],
}
JUDGED = {"evaluation": {"set": "scenes"}, "objective": {"metric": "accuracy"}}


TWELVE = [i / 20 for i in range(1, 13)]


def submit(client, **changes):
    answer = client.post("/v1/sweeps", json=SWEEP | changes)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/sweeps/{answer.json()['id']}"
    return answer.json()


def look(client, sweep):
    return client.get(f"/v1/sweeps/{sweep['id']}").json()


def members(client, sweep):
    query = {"sweep": sweep["id"], "sort": "created_at", "limit": 200}
    return client.get("/v1/jobs", params=query).json()["jobs"]


def log(client, sweep):
    return client.get(f"/v1/sweeps/{sweep['id']}/events").json()["events"]


def result(accuracy, sparsity):
    estimates = [Estimate(value=v, low=v, high=v) for v in (0.9, accuracy, accuracy - 0.9)]
    names = ("before", "after", "change")
    measured = Measured(samples=9, **dict(zip(names, estimates, strict=True)))
    report = EvaluationReport(set="scenes", sha256="0", samples=9, metrics={"accuracy": measured})
    found = {"sparsity": sparsity, "sizes": {"packed": 10}, "seconds": 1.0}
    return found | {"evaluation": report.model_dump(mode="json")}


class TestSubmit:
    def test_every_combination_becomes_a_job(self, client):
        recipes = [{}, {"pattern": "2:4", "ignore": ["head"]}]
        sweep = submit(client, recipes=recipes, labels={"team": "a"}, priority=3)
        jobs = members(client, sweep)
        found = [
            (j["method"], j["recipe"]["pattern"]["kind"], j["recipe"]["sparsity"]) for j in jobs
        ]
        assert found == [
            (method, pattern, sparsity)
            for method in ("magnitude", "multiflow")
            for pattern, sparsities in (("unstructured", [0.5, 0.6, 0.7]), ("n:m", [0.5]))
            for sparsity in sparsities
        ]
        assert {j["sweep_id"] for j in jobs} == {sweep["id"]}
        assert all(j["labels"] == {"team": "a"} and j["priority"] == 3 for j in jobs)
        assert (sweep["status"], sweep["jobs"], sweep["progress"]) == ("queued", {"queued": 8}, 0)
        assert client.get("/v1/sweeps").json()["sweeps"] == [look(client, sweep)] == [sweep]

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"methods": [{"method": "wandaa"}]}, "unknown_method"),
            ({"sparsities": [0.5, 0]}, "sparsity_zero"),
            ({"methods": [MAGNITUDE | {"parameters": {"x": 1}}]}, "method_parameter_invalid"),
            ({"sparsities": [0.5, 1.5]}, "sparsity_out_of_range"),
            ({"sparsities": []}, "sparsity_missing"),
            ({"sparsities": [0.5, 0.5]}, "repeated"),
            ({"recipes": [{"pattern": "4:2"}]}, "pattern_invalid"),
            ({"recipes": [{"seed": i} for i in range(34)]}, "sweep_too_large"),
            ({"objective": {"metric": "accuracy"}}, "objective_not_measured"),
            (
                JUDGED | {"evaluation": {"tasks": [{"harness": "lm-eval", "task": "mine"}]}},
                "objective_not_measured",
            ),
            ({"model": "absent"}, "model_not_found"),
        ],
    )
    def test_one_wrong_member_refuses_all(self, client, change, code):
        assert_problem(client.post("/v1/sweeps", json=SWEEP | change), 422, code)
        assert client.get("/v1/jobs").json()["jobs"] == []
        assert client.get("/v1/sweeps").json()["sweeps"] == []

    def test_the_quota_has_room_for_all_or_for_none(self, client, limits):
        limits(queued_jobs=5)
        assert_problem(client.post("/v1/sweeps", json=SWEEP), 429, "quota_queued_jobs")
        assert client.get("/v1/jobs").json()["jobs"] == []
        limits(queued_jobs=6)
        submit(client)

    def test_it_takes_effect_once(self, client):
        headers = {"Idempotency-Key": "k"}
        answers = [client.post("/v1/sweeps", json=SWEEP, headers=headers) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["idempotency-replayed"] == "true"
        assert len(client.get("/v1/jobs").json()["jobs"]) == 6


class TestLeaders:
    def test_who_shares_a_calibration_waits_for_its_first(self, client, worker):
        jobs = members(client, submit(client))
        free, followers = [j["id"] for j in jobs[:4]], [j["id"] for j in jobs[4:]]
        claimed = [worker.claim() for _ in range(5)]
        assert [job.id for job in claimed if job] == free
        assert claimed[3].leader_id is None
        worker.succeed(claimed[3])
        after = [worker.claim() for _ in range(3)]
        assert [job.id for job in after if job] == followers
        assert {job.leader_id for job in after if job} == {free[3]}

    @pytest.mark.parametrize("end", ["fail", "cancel"])
    def test_they_start_on_their_own_where_it_fails(self, client, worker, end):
        jobs = members(client, submit(client, methods=[{"method": "multiflow"}]))
        if end == "fail":
            worker.fail(worker.claim())
        else:
            client.post(f"/v1/jobs/{jobs[0]['id']}/cancel")
        assert [worker.claim().id for _ in range(2)] == [j["id"] for j in jobs[1:]]

    @pytest.mark.parametrize(
        ("method", "waiting"),
        [
            ({"method": "ecoflap"}, 2),
            ({"method": "ecoflap", "parameters": {"local": "sparsegpt"}}, 2),
            ({"method": "wanda"}, 0),
            ({"method": "sparsegpt"}, 0),
            ({"method": "snip"}, 0),
            (MAGNITUDE, 0),
        ],
    )
    def test_only_what_holds_for_every_sparsity_is_shared(self, client, worker, method, waiting):
        submit(client, methods=[method])
        assert [worker.claim() for _ in range(3)].count(None) == waiting


class TestStatus:
    def test_it_follows_its_members_to_the_end(self, client, worker):
        sweep = submit(client, methods=[MAGNITUDE])
        jobs = [worker.claim() for _ in range(3)]
        assert look(client, sweep)["status"] == "running"
        worker.succeed(jobs[0])
        worker.fail(jobs[1])
        found = look(client, sweep)
        assert (found["status"], found["finished_at"]) == ("running", None)
        worker.succeed(jobs[2])
        found = look(client, sweep)
        assert (found["status"], found["jobs"]) == ("succeeded", {"failed": 1, "succeeded": 2})
        assert found["progress"] == 1
        assert found["finished_at"] is not None
        events = log(client, sweep)
        assert [e["message"] for e in events if e["type"] == "status"] == [
            "queued",
            "running",
            "succeeded",
        ]
        told = Counter(e["data"]["status"] for e in events if e["type"] == "member")
        assert told == {"running": 3, "succeeded": 2, "failed": 1}
        assert events[-1]["message"] == "succeeded"

    def test_it_fails_where_no_member_succeeds(self, client, worker):
        sweep = submit(client, methods=[MAGNITUDE], sparsities=[0.5])
        worker.fail(worker.claim())
        assert look(client, sweep)["status"] == "failed"

    def test_members_that_end_at_once_end_it_once(self, client, worker):
        sweep = submit(client, methods=[MAGNITUDE], sparsities=TWELVE)
        jobs = [worker.claim() for _ in range(12)]
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(worker.succeed, jobs))
        assert look(client, sweep)["jobs"] == {"succeeded": 12}
        assert [e["message"] for e in log(client, sweep)].count("succeeded") == 1

    def test_a_stream_and_a_wait_end_with_it(self, remote, worker):
        sweep = submit(remote, methods=[MAGNITUDE], sparsities=[0.5])
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(remote.get, f"/v1/sweeps/{sweep['id']}?wait=10")
            headers = {"Accept": "text/event-stream"}
            stream = pool.submit(remote.get, f"/v1/sweeps/{sweep['id']}/events", headers=headers)
            worker.succeed(worker.claim())
            assert waiting.result().json()["status"] == "succeeded"
            text = stream.result().text
        assert text.count("event: member") == 2
        assert text.count("event: status") == 3


class TestCancel:
    def test_all_members_stop(self, client, worker):
        sweep = submit(client)
        job = worker.claim()
        found = client.post(f"/v1/sweeps/{sweep['id']}/cancel").json()
        assert (found["status"], found["jobs"]) == ("cancelling", {"cancelled": 5, "cancelling": 1})
        assert worker.claim() is None
        worker.fail(job)
        assert look(client, sweep)["status"] == "cancelled"
        again = client.post(f"/v1/sweeps/{sweep['id']}/cancel")
        assert (again.status_code, again.json()["status"]) == (200, "cancelled")

    def test_what_has_ended_stays(self, client, worker):
        sweep = submit(client, methods=[MAGNITUDE], sparsities=[0.5])
        worker.succeed(worker.claim())
        refused = client.post(f"/v1/sweeps/{sweep['id']}/cancel")
        assert_problem(refused, 409, "sweep_already_finished")


class TestBest:
    def run(self, client, worker, objective, scores):
        sparsities = list(scores)
        sweep = submit(
            client,
            methods=[MAGNITUDE],
            sparsities=sparsities,
            evaluation={"set": "scenes"},
            objective=objective,
        )
        for sparsity, accuracy in scores.items():
            job = worker.claim()
            if accuracy is None:
                worker.fail(job)
            else:
                worker.succeed(job, result=result(accuracy, sparsity))
        return sweep

    @pytest.mark.parametrize(
        ("objective", "best", "order"),
        [
            ({"metric": "accuracy"}, 0.5, [0.5, 0.6, 0.7, 0.8]),
            ({"metric": "accuracy", "max_drop": 0.1}, 0.6, [0.6, 0.5, 0.7, 0.8]),
            ({"metric": "accuracy", "max_drop": 0.0}, None, [0.5, 0.6, 0.7, 0.8]),
        ],
    )
    def test_by_metric(self, client, worker, objective, best, order):
        sweep = self.run(client, worker, objective, {0.8: None, 0.7: 0.5, 0.6: 0.85, 0.5: 0.89})
        path = f"/v1/sweeps/{sweep['id']}/leaderboard"
        board = client.get(path).json()
        assert board["metric"] == "accuracy"
        assert [each["recipe"]["sparsity"] for each in board["standings"]] == order
        assert board["standings"][-1]["error_code"] == "model_load_failed"
        by_id = {job["id"]: job["recipe"]["sparsity"] for job in members(client, sweep)}
        assert by_id.get(look(client, sweep)["best_job_id"]) == best
        other = client.get(path, params={"metric": "perplexity"}).json()
        assert {each["value"] for each in other["standings"]} == {None}

    def test_without_the_best_the_next_best_is(self, client, worker):
        sweep = self.run(client, worker, {"metric": "accuracy"}, {0.5: 0.8, 0.6: 0.7})
        first = look(client, sweep)["best_job_id"]
        client.delete(f"/v1/jobs/{first}")
        assert look(client, sweep)["best_job_id"] == members(client, sweep)[0]["id"] != first


def test_deleted_as_a_whole(client, worker):
    sweep = submit(client, methods=[MAGNITUDE], sparsities=[0.5, 0.6])
    refused = client.delete(f"/v1/sweeps/{sweep['id']}")
    assert_problem(refused, 409, "sweep_not_finished")
    for _ in range(2):
        job = worker.claim()
        worker.succeed(job, [Artifact(job.id, 1, "a", 3, "0", "text/plain")])
    assert client.get("/v1/project").json()["usage"]["artifact_bytes"] == 6
    assert client.delete(f"/v1/sweeps/{sweep['id']}").status_code == 204
    assert client.get("/v1/project").json()["usage"]["artifact_bytes"] == 0
    assert client.get("/v1/jobs").json()["jobs"] == []
    for path in ("", "/events", "/leaderboard"):
        assert_problem(client.get(f"/v1/sweeps/{sweep['id']}{path}"), 404, "sweep_not_found")
    actions = [entry["action"] for entry in client.get("/v1/audit").json()["entries"]]
    assert actions == ["sweep.delete", "sweep.submit"]


def test_pages(client):
    made = [submit(client, sparsities=[0.5])["id"] for _ in range(3)]
    page = client.get("/v1/sweeps?limit=2").json()
    rest = client.get(f"/v1/sweeps?cursor={page['next_cursor']}").json()
    assert [s["id"] for s in page["sweeps"] + rest["sweeps"]] == made[::-1]
    assert rest["next_cursor"] is None
