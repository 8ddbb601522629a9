"""Two API processes and three workers on one database are one service."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx2
import psutil
import pytest

from app.local.installation import Api
from app.local.process import Process, running
from app.local.valkey import free_port
from app.local.workers import worker_program
from tests.acceptance.test_kills import SLOW, TINY


class Worker(Process):
    def ready(self):
        """Whether its child has imported torch: from now on it is as fast as the others."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                if any("libtorch" in each.path for each in child.memory_maps()):
                    return True
        return False


@pytest.fixture(scope="module")
def apis(service):
    """Clients of both API processes, while two more workers run."""
    shared = service.running.settings
    api = shared.api.model_copy(update={"port": free_port()})
    # The first worker answers Prometheus at the port of the settings.
    silent = shared.telemetry.model_copy(update={"metrics_port": 0})
    settings = shared.model_copy(update={"api": api, "telemetry": silent})
    environment, pause = settings.environment(), service.running.tend
    with ExitStack() as stack:
        stack.enter_context(running(Api(settings, "api-2"), pause=pause))
        for name in ("worker-2", "worker-3"):
            worker = Worker(worker_program(environment, name), settings.data_dir)
            stack.enter_context(running(worker, pause=pause))
        headers = {"Authorization": f"Bearer {service.running.key}"}
        second = httpx2.Client(base_url=api.url, headers=headers, timeout=30, trust_env=False)
        yield service.http, stack.enter_context(second)


def events(api, job_id):
    return api.get(f"/v1/jobs/{job_id}/events?limit=1000").json()["events"]


def test_each_job_runs_once_and_both_tell_the_same(service, apis):
    def client(number):
        answers = [apis[number % 2].post("/v1/jobs", json=TINY) for _ in range(6)]
        return [answer.json()["id"] for answer in answers]

    workers = set()
    for _ in range(20):  # until the last worker is warm
        with ThreadPoolExecutor(4) as pool:
            job_ids = [job_id for ids in pool.map(client, range(4)) for job_id in ids]
        for job_id in job_ids:
            job = service.finish(job_id)
            assert (job["status"], job["attempt"]) == ("succeeded", 1)
            told = [events(api, job_id) for api in apis]
            assert told[0] == told[1]
            messages = [event["message"] for event in told[0]]
            assert (messages.count("running"), messages.count("succeeded")) == (1, 1)
            workers |= {e["data"]["worker"] for e in told[0] if e["message"] == "running"}
        if len(workers) == 3:
            break
    assert len(workers) == 3, "every worker has its share"
    assert apis[0].get("/v1/jobs?limit=24").json() == apis[1].get("/v1/jobs?limit=24").json()


def test_a_request_repeated_at_the_other_api_is_the_same_job(apis):
    headers = {"Idempotency-Key": "at both"}
    answers = [api.post("/v1/jobs", json=TINY, headers=headers) for api in apis]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_one_api_streams_the_events_of_a_job_submitted_to_the_other(service, apis):
    job_id = service.submit(**SLOW)
    path, headers = f"/v1/jobs/{job_id}/events", {"Accept": "text/event-stream"}
    with apis[1].stream("GET", path, headers=headers) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert service.job(job_id)["status"] == "succeeded", "the stream ends with the job"
    streamed = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert streamed == events(apis[0], job_id)
