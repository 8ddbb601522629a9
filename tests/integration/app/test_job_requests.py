"""What a client can do with jobs beside submitting one."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import func, text, update

from app.db import idempotency, jobs, tables
from app.domain.jobs import Artifact, Phase
from app.services import attempts
from tests.integration.app.problem import assert_problem
from tests.integration.app.rows import each

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def submit(client, **changes):
    answer = client.post("/v1/jobs", json=JOB | changes)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def look(client, job_id):
    return client.get(f"/v1/jobs/{job_id}").json()


class TestIdempotency:
    def post(self, client, key="k", **changes):
        headers = {"Idempotency-Key": key}
        return client.post("/v1/jobs", json=JOB | changes, headers=headers)

    def test_the_same_request_is_answered_alike_and_takes_effect_once(self, client):
        first, second = self.post(client), self.post(client)
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert first.headers["location"] == second.headers["location"]
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1

    def test_a_replay_tells_what_became_of_the_job(self, client):
        made = self.post(client).json()["id"]
        client.post(f"/v1/jobs/{made}/cancel")
        again = self.post(client)
        assert (again.json()["id"], again.json()["status"]) == (made, "cancelled")
        client.delete(f"/v1/jobs/{made}")
        assert_problem(self.post(client), 404, "job_not_found")

    def test_another_payload_is_refused(self, client):
        self.post(client)
        assert_problem(self.post(client, seed=1), 422, "idempotency_key_reused")

    def test_a_refused_request_may_be_corrected(self, client):
        assert self.post(client, model="absent").status_code == 422
        assert self.post(client).status_code == 202

    def test_while_the_first_is_at_work_the_second_is_told_to_wait(self, client, engine):
        with engine.begin() as connection:
            assert idempotency.try_lock(connection, "prj_default", "k")
            answer = self.post(client)
            assert_problem(answer, 409, "idempotency_key_in_flight")
            assert answer.headers["retry-after"] == "1"
        assert self.post(client).status_code == 202

    def test_many_at_once_make_one_job(self, client):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.post(client), range(16)))
        assert {answer.status_code for answer in answers} <= {202, 409}
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1

    def test_an_answer_is_kept_for_a_day(self, client, engine):
        first = self.post(client).json()["id"]
        with engine.begin() as connection:
            assert idempotency.forget_old(connection) == 0
            past = func.now() - idempotency.KEPT
            connection.execute(update(tables.idempotency).values(created_at=past))
        assert self.post(client, seed=1).json()["id"] != first
        with engine.begin() as connection:
            connection.execute(update(tables.idempotency).values(created_at=past))
            assert idempotency.forget_old(connection) == 1


class TestResult:
    def test_it_is_missing_until_the_job_has_ended(self, client, worker):
        job_id = submit(client)
        answer = client.get(f"/v1/jobs/{job_id}/result")
        assert_problem(answer, 404, "result_not_ready")
        assert int(answer.headers["retry-after"]) > 0
        job = worker.claim()
        assert_problem(client.get(f"/v1/jobs/{job_id}/result"), 404, "result_not_ready")
        worker.succeed(job, [Artifact(job_id, 1, "a", 3, "0", "text/plain")])
        body = client.get(f"/v1/jobs/{job_id}/result").json()
        assert (body["status"], body["result"]) == ("succeeded", {"sparsity": 0.5})
        assert [file["path"] for file in body["artifacts"]] == ["a"]

    def test_failures_and_cancels_are_results_too(self, client, worker):
        failed = submit(client)
        worker.fail(worker.claim())
        cancelled = submit(client)
        client.post(f"/v1/jobs/{cancelled}/cancel")
        bodies = [client.get(f"/v1/jobs/{job_id}/result") for job_id in (failed, cancelled)]
        assert [body.status_code for body in bodies] == [200, 200]
        assert [body.json()["status"] for body in bodies] == ["failed", "cancelled"]
        assert bodies[0].json()["error"]["code"] == "model_load_failed"


class TestWait:
    def test_it_answers_when_the_job_ends(self, remote, worker):
        job_id = submit(remote)
        job = worker.claim()
        threading.Timer(0.4, worker.succeed, [job]).start()
        started = time.monotonic()
        body = remote.get(f"/v1/jobs/{job_id}?wait=10").json()
        assert body["status"] == "succeeded"
        assert 0.3 < time.monotonic() - started < 3

    def test_it_answers_at_the_latest_when_the_time_is_over(self, remote):
        job_id = submit(remote)
        started = time.monotonic()
        assert remote.get(f"/v1/jobs/{job_id}?wait=0.3").json()["status"] == "queued"
        assert 0.3 <= time.monotonic() - started < 2

    def test_it_holds_no_connection(self, remote, engine):
        job_id = submit(remote)
        with ThreadPoolExecutor(40) as pool:  # twice what the server's pool has
            waits = [pool.submit(remote.get, f"/v1/jobs/{job_id}?wait=2") for _ in range(40)]
            time.sleep(1)
            started = time.monotonic()
            assert look(remote, job_id)["status"] == "queued"
            assert time.monotonic() - started < 0.5
            assert {wait.result().status_code for wait in waits} == {200}

    def test_it_is_bounded(self, client):
        assert client.get("/v1/jobs/x?wait=61").status_code == 422


class TestCopies:
    def test_a_retry_is_a_new_job_of_the_same_request(self, client, worker):
        job_id = submit(client, labels={"team": "a"}, seed=7)
        refused = client.post(f"/v1/jobs/{job_id}/retry")
        assert_problem(refused, 409, "job_not_retryable")
        worker.fail(worker.claim())
        answer = client.post(f"/v1/jobs/{job_id}/retry")
        job = answer.json()
        assert (answer.status_code, job["status"], job["source_id"]) == (202, "queued", job_id)
        assert (job["recipe"]["seed"], job["labels"]) == (7, {"team": "a"})
        assert look(client, job_id)["status"] == "failed"

    def test_a_clone_has_the_changes(self, client):
        job_id = submit(client, labels={"team": "a"}, parameters={"scope": "row"}, priority=3)
        changes = {"sparsity": 0.6, "priority": None}
        job = client.post(f"/v1/jobs/{job_id}/clone", json=changes).json()
        assert (job["recipe"]["sparsity"], job["source_id"], job["priority"]) == (0.6, job_id, 0)
        assert job["recipe"]["pattern"]["group"] == "row"
        assert job["labels"] == {"team": "a"}

    @pytest.mark.parametrize(
        ("changes", "code"),
        [({"sparsity": 2}, "sparsity_out_of_range"), ({"x": 1}, "unknown_field")],
    )
    def test_a_clone_is_checked_like_a_submit(self, client, changes, code):
        answer = client.post(f"/v1/jobs/{submit(client)}/clone", json=changes)
        body = assert_problem(answer, 422, code)
        assert body["errors"][0]["pointer"] == f"/{next(iter(changes))}"


class TestChanges:
    def test_labels_metadata_and_priority_can_be_set(self, client):
        job_id = submit(client)
        change = {"labels": {"a": "1"}, "metadata": {"x": [1]}, "priority": 5}
        job = client.patch(f"/v1/jobs/{job_id}", json=change).json()
        assert {name: job[name] for name in change} == change
        job = client.patch(f"/v1/jobs/{job_id}", json={"labels": {}}).json()
        assert (job["labels"], job["priority"]) == ({}, 5)

    def test_if_match_guards_against_lost_updates(self, client):
        job_id = submit(client)
        etag = client.get(f"/v1/jobs/{job_id}").headers["etag"]
        headers = {"If-Match": etag}
        first = client.patch(f"/v1/jobs/{job_id}", json={"priority": 1}, headers=headers)
        assert first.status_code == 200
        assert first.headers["etag"] != etag
        for request in (
            client.build_request("PATCH", f"/v1/jobs/{job_id}", json={}, headers=headers),
            client.build_request("POST", f"/v1/jobs/{job_id}/cancel", headers=headers),
            client.build_request("DELETE", f"/v1/jobs/{job_id}", headers=headers),
        ):
            assert_problem(client.send(request), 412, "precondition_failed")
        headers = {"If-Match": f'"other", {first.headers["etag"]}'}
        assert client.post(f"/v1/jobs/{job_id}/cancel", headers=headers).status_code == 200

    def test_progress_leaves_the_etag_and_status_does_not(self, client, worker):
        job_id = submit(client)
        job = worker.claim()
        running = client.get(f"/v1/jobs/{job_id}").headers["etag"]
        worker.heartbeat(job, Phase.PRUNING, 0.5)
        assert client.get(f"/v1/jobs/{job_id}").headers["etag"] == running
        worker.succeed(job)
        assert client.get(f"/v1/jobs/{job_id}").headers["etag"] != running

    @pytest.mark.parametrize(
        "change",
        [{"labels": {"": "x"}}, {"labels": {"a": "x" * 64}}, {"metadata": {"a": "x" * 8192}}],
    )
    def test_labels_and_metadata_are_bounded(self, client, change):
        assert client.post("/v1/jobs", json=JOB | change).status_code in {413, 422}

    @pytest.mark.parametrize("value", ['"\\u0000"', '"\\ud800"', "NaN", "-Infinity", "1e999"])
    def test_what_cannot_be_stored_is_refused(self, client, value):
        content = f'{{"metadata": {{"a": {value}}}}}'
        headers = {"Content-Type": "application/json"}
        answer = client.patch(f"/v1/jobs/{submit(client)}", content=content, headers=headers)
        assert_problem(answer, 422, "text_not_storable")


class TestDelete:
    def test_an_ended_job_disappears_with_its_files(self, client, worker, settings):
        job_id = submit(client)
        refused = client.delete(f"/v1/jobs/{job_id}")
        assert_problem(refused, 409, "job_not_finished")
        job = worker.claim()
        file = settings.storage.dir / "published" / f"{job_id}-1" / "a"
        file.parent.mkdir(parents=True)
        file.touch()
        worker.succeed(job, [Artifact(job_id, 1, "a", 3, "0", "text/plain")])
        assert client.get("/v1/project").json()["usage"]["artifact_bytes"] == 3
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert not file.parent.exists()
        assert client.get("/v1/project").json()["usage"]["artifact_bytes"] == 0
        for path in ("", "/result", "/events", "/artifacts/a"):
            assert_problem(client.get(f"/v1/jobs/{job_id}{path}"), 404, "job_not_found")


class TestList:
    def ids(self, client, **query):
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]

    def test_filters(self, client, worker):
        a = submit(client, labels={"team": "a", "x": "1"})
        b = submit(client, labels={"team": "b"}, method="wanda", priority=1)
        assert self.ids(client, label="team=a") == [a]
        assert self.ids(client, label=["team=a", "x=2"]) == []
        assert self.ids(client, method="wanda") == [b]
        assert self.ids(client, model="tiny") == [b, a]
        assert self.ids(client, model="other") == []
        worker.claim()
        assert self.ids(client, status="running") == [b]
        created = look(client, b)["created_at"]
        assert self.ids(client, created_after=created) == [b]
        assert self.ids(client, created_before=created) == [a]

    def test_oldest_first_in_pages(self, client):
        made = [submit(client) for _ in range(3)]
        page = client.get("/v1/jobs?sort=created_at&limit=2").json()
        assert [job["id"] for job in page["jobs"]] == made[:2]
        rest = client.get(f"/v1/jobs?sort=created_at&cursor={page['next_cursor']}").json()
        assert [job["id"] for job in rest["jobs"]] == made[2:]
        assert rest["next_cursor"] is None


def test_higher_priorities_start_first(client, worker):
    low, high, raised = (submit(client, priority=value) for value in (-1, 1, -5))
    client.patch(f"/v1/jobs/{raised}", json={"priority": 2})
    assert [worker.claim().id for _ in range(3)] == [raised, high, low]


def shift(engine, column, seconds):
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE jobs SET {column} = {column} - interval '{seconds} seconds'")
        )


def end_overdue(engine):
    return each(engine, partial(jobs.all_overdue, limit=100), attempts.end_overdue)


def test_a_job_that_waits_too_long_fails(client, engine, worker):
    job_id = submit(client, max_pending_seconds=60)
    assert end_overdue(engine) == 0
    shift(engine, "deadline", 61)
    assert end_overdue(engine) == 1
    job = look(client, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "max_pending_exceeded")
    assert worker.claim() is None


def test_a_job_that_runs_too_long_fails_and_its_worker_stops(client, engine, worker):
    job_id = submit(client, max_pending_seconds=60, max_runtime_seconds=100)
    job = worker.claim()
    shift(engine, "deadline", 61)
    assert end_overdue(engine) == 0, "from the start on, the time to wait does not count"
    shift(engine, "deadline", 40)
    assert end_overdue(engine) == 1
    assert look(client, job_id)["error"]["code"] == "max_runtime_exceeded"
    assert worker.heartbeat(job, Phase.PRUNING, 0.5).value == "lost"
    assert not worker.succeed(job)


def test_the_expected_end_follows_the_pace(client, engine, worker):
    job_id = submit(client)
    job = worker.claim()
    worker.heartbeat(job, Phase.LOADING, 0.05)
    assert look(client, job_id)["eta"] is None, "loading tells nothing"
    shift(engine, "attempt_started_at", 60)
    worker.heartbeat(job, Phase.PRUNING, 0.25)
    now = datetime.fromisoformat(look(client, job_id)["started_at"])
    left = datetime.fromisoformat(look(client, job_id)["eta"]) - now
    assert left == pytest.approx(timedelta(seconds=180), abs=timedelta(seconds=5))
    worker.succeed(job)
    assert look(client, job_id)["eta"] is None
