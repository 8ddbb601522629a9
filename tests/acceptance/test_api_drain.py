"""The API is asked to end: what clients have begun is finished, nobody waits, exit 0."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest

from app.local.valkey import free_port
from tests.acceptance.test_kills import SLOW

SSE = {"Accept": "text/event-stream"}


@contextmanager
def another_api(service):
    """A second API of the installation: its process, its port and a client."""
    port = free_port()
    mine = {
        "SECATEUR_API__PORT": str(port),
        "SECATEUR_API__DRAIN_SECONDS": "300",
        "SECATEUR_TELEMETRY__METRICS_PORT": "0",  # taken by the worker of this machine
    }
    environment = os.environ | service.running.settings.environment() | mine
    process = subprocess.Popen([sys.executable, "-P", "-m", "app.main"], env=environment)
    try:
        until(lambda: is_ready(port))
        headers = {"Authorization": f"Bearer {service.running.key}"}
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
            yield process, port, client
    finally:
        process.kill()
        process.wait()


def until(found, seconds=120):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_ready(port):
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx2.TransportError:
        return False


def is_closed(port):
    try:
        httpx2.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
    except httpx2.ConnectError:
        return True
    except httpx2.TransportError:
        return False
    return False


def event_ids(answer):
    """Ids of a stream's events, as they come; a stream that is cut raises."""
    for line in answer.iter_lines():
        if line.startswith("id: "):
            yield int(line.removeprefix("id: "))


def test_the_api_finishes_requests_when_it_is_asked_to_end(service):
    done = service.submit(model="minilm", method="magnitude", sparsity=0.5)
    assert service.finish(done)["status"] == "succeeded"
    [weights] = [f for f in service.artifacts(done) if f["path"] == "model.safetensors"]
    with (
        another_api(service) as (process, port, client),
        client.stream("GET", f"/v1/jobs/{done}/artifacts/model.safetensors") as download,
    ):
        assert download.status_code == 200
        process.terminate()
        until(lambda: is_closed(port))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        digest = hashlib.sha256()
        for chunk in download.iter_bytes():
            digest.update(chunk)
        assert digest.hexdigest() == weights["sha256"]
        assert process.wait(60) == 0


def test_nobody_waits_for_an_api_that_is_asked_to_end(service):
    """A poll is answered with what is known; a stream ends, and goes on elsewhere."""
    # Less patient than the poll may be.
    poll = http.client.HTTPConnection("127.0.0.1", timeout=40)
    with another_api(service) as (process, port, client):
        job_id = service.submit(**SLOW)
        events = f"/v1/jobs/{job_id}/events"
        poll.port = port
        poll.request("GET", f"/v1/jobs/{job_id}?wait=60", headers=dict(client.headers))
        # What came after it is answered, so the API has the poll in hand.
        with client.stream("GET", events, headers=SSE, timeout=40) as stream:
            told = event_ids(stream)
            seen = [next(told)]
            process.terminate()
            answer = poll.getresponse()
            known = json.load(answer)
            seen += told
        poll.close()
        assert process.wait(60) == 0
    assert (answer.status, known["finished_at"]) == (200, None)
    assert service.job(job_id)["finished_at"] is None
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    last = SSE | {"Last-Event-ID": str(seen[-1])}
    with service.http.stream("GET", events, headers=last, timeout=90) as stream:
        seen += event_ids(stream)
    log = service.http.get(events, params={"limit": 1000}).json()["events"]
    assert seen == [event["id"] for event in log]
