"""The API is asked to end: what clients have begun is finished, nothing new is taken, exit 0."""

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


@contextmanager
def another_api(service):
    """A second API of the installation: its process and its port."""
    port = free_port()
    mine = {"SECATEUR_API__PORT": str(port), "SECATEUR_API__DRAIN_SECONDS": "60"}
    environment = os.environ | service.running.settings.environment() | mine
    process = subprocess.Popen([sys.executable, "-P", "-m", "app.main"], env=environment)
    try:
        until(lambda: is_ready(port))
        yield process, port
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


def test_the_api_finishes_requests_when_it_is_asked_to_end(service):
    done = service.submit(model="minilm", method="magnitude", sparsity=0.5)
    assert service.finish(done)["status"] == "succeeded"
    [weights] = [f for f in service.artifacts(done) if f["path"] == "model.safetensors"]
    awaited = service.submit(**SLOW)
    authorization = {"Authorization": f"Bearer {service.running.key}"}
    with (
        another_api(service) as (process, port),
        httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=authorization, trust_env=False
        ) as client,
    ):
        poll = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        poll.request("GET", f"/v1/jobs/{awaited}?wait=60", headers=authorization)
        # What came after it is answered, so the API has the poll in hand.
        with client.stream("GET", f"/v1/jobs/{done}/artifacts/model.safetensors") as download:
            assert download.status_code == 200
            process.terminate()
            until(lambda: is_closed(port))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            digest = hashlib.sha256()
            for chunk in download.iter_bytes():
                digest.update(chunk)
        assert digest.hexdigest() == weights["sha256"]
        service.http.post(f"/v1/jobs/{awaited}/cancel")
        answer = poll.getresponse()
        assert (answer.status, json.load(answer)["status"]) == (200, "cancelled")
        poll.close()
        assert process.wait(60) == 0
