"""Webhooks from the job's event to a receiver that checks them with the public library."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import func, update
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from app.db import tables
from app.deliver import deliver_due
from app.main import create_app
from app.services import keys, projects
from app.webhooks.sender import Sender
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((body, dict(self.headers.items())))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received, server.answers = [], []
    server.url = f"http://localhost:{server.server_port}/hook?a=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def deliver(engine):
    sender = Sender(allow_loopback=True)
    with ThreadPoolExecutor(4) as pool:
        yield lambda: deliver_due(engine, sender, pool)
    sender.close()


@pytest.fixture
def webhook(client, receiver):
    return client.post("/v1/webhooks", json={"url": receiver.url}).json()


def end_a_job(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def log(client, webhook):
    path = f"/v1/webhooks/{webhook['webhook']['id']}/deliveries"
    return client.get(path).json()["deliveries"]


@pytest.fixture
def make_due(engine):
    def now():
        with engine.begin() as connection:
            connection.execute(update(tables.deliveries).values(next_at=func.now()))

    return now


def test_the_end_of_a_job_is_told_once_and_signed(client, receiver, webhook, deliver):
    job_id = end_a_job(client)
    assert (deliver(), deliver()) == (1, 0)
    ((body, headers),) = receiver.received
    message = Webhook(webhook["secret"]).verify(body, headers)
    assert message["type"] == "job.cancelled"
    assert message["data"] == {"job_id": job_id, "attempt": 0, "labels": {}}
    (entry,) = log(client, webhook)
    assert (entry["state"], entry["last_status"], entry["attempts"]) == ("delivered", 204, 1)
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["webhook-id"] == entry["id"]
    assert headers["host"] == receiver.url.split("/")[2]


def test_endpoints_get_the_events_they_asked_for(client, receiver, deliver, worker):
    wanted = {"url": receiver.url, "events": ["job.running", "job.succeeded"]}
    webhook = client.post("/v1/webhooks", json=wanted).json()
    client.post("/v1/jobs", json=JOB)
    worker.succeed(worker.claim())
    end_a_job(client)
    deliver()
    told = [entry["event"] for entry in log(client, webhook)]
    assert told == ["job.succeeded", "job.running"]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_what_is_not_2xx_is_tried_again_under_the_same_id(
    client, receiver, webhook, deliver, make_due, status
):
    end_a_job(client)
    receiver.answers = [status, 200]
    assert (deliver(), deliver()) == (1, 0)
    (entry,) = log(client, webhook)
    assert (entry["state"], entry["last_status"]) == ("pending", status)
    make_due()
    assert deliver() == 1
    (entry,) = log(client, webhook)
    assert (entry["state"], entry["attempts"]) == ("delivered", 2)
    names = {name.lower(): name for name in receiver.received[0][1]}
    assert len({headers[names["webhook-id"]] for _, headers in receiver.received}) == 1


def test_attempts_end_after_the_schedule(client, receiver, webhook, deliver, make_due):
    end_a_job(client)
    receiver.answers = [500] * 20
    for _ in range(12):
        if log(client, webhook)[0]["next_at"]:
            make_due()
        deliver()
    (entry,) = log(client, webhook)
    assert (entry["state"], entry["attempts"], entry["next_at"]) == ("failed", 10, None)


def test_gone_disables_the_endpoint(client, receiver, webhook, deliver):
    end_a_job(client)
    receiver.answers = [410]
    deliver()
    path = f"/v1/webhooks/{webhook['webhook']['id']}"
    endpoint = client.get(path).json()
    assert (endpoint["enabled"], endpoint["disabled_reason"]) == (
        False,
        "the receiver answered 410 Gone",
    )
    end_a_job(client)
    assert deliver() == 0
    assert len(log(client, webhook)) == 1
    assert client.patch(path, json={"enabled": True}).json()["disabled_reason"] is None
    end_a_job(client)
    assert deliver() == 1


def test_a_receiver_that_was_away_gets_everything(client, receiver, webhook, deliver, make_due):
    jobs = {end_a_job(client) for _ in range(20)}
    receiver.answers = [503] * 20
    while deliver():
        pass
    make_due()
    while deliver():
        pass
    told = {entry["payload"]["data"]["job_id"]: entry["state"] for entry in log(client, webhook)}
    assert told == dict.fromkeys(jobs, "delivered")


def test_after_a_rotation_both_secrets_sign(client, receiver, webhook, deliver):
    new = client.post(f"/v1/webhooks/{webhook['webhook']['id']}/rotate").json()["secret"]
    end_a_job(client)
    deliver()
    ((body, headers),) = receiver.received
    for secret in (webhook["secret"], new):
        Webhook(secret).verify(body, headers)


def test_a_delivery_can_be_sent_again(client, receiver, webhook, deliver):
    end_a_job(client)
    deliver()
    (entry,) = log(client, webhook)
    path = f"/v1/webhooks/{webhook['webhook']['id']}/deliveries"
    assert client.post(f"{path}/{entry['id']}/replay").status_code == 202
    assert deliver() == 1
    assert receiver.received[0][0] == receiver.received[1][0]
    assert_problem(client.post(f"{path}/msg_x/replay"), 404, "webhook_delivery_not_found")


def test_our_own_network_is_out_of_reach(client, receiver, webhook, engine):
    end_a_job(client)
    sender = Sender(allow_loopback=False)
    with ThreadPoolExecutor(1) as pool:
        deliver_due(engine, sender, pool)
    sender.close()
    (entry,) = log(client, webhook)
    assert "not public" in entry["last_error"]
    assert receiver.received == []


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "http://", "no url", "https://u:p@example.com", "http://a:b"]
)
def test_bad_urls_are_refused(client, url):
    assert_problem(client.post("/v1/webhooks", json={"url": url}), 422, "webhook_address_refused")


def test_secrets_are_shown_once_and_endpoints_are_a_projects_own(client, settings, engine, webhook):
    endpoint_id = webhook["webhook"]["id"]
    assert webhook["secret"] not in client.get("/v1/webhooks").text
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = keys.issue(connection, "theirs", project_id=other.id)
    with TestClient(create_app(settings)) as stranger:
        stranger.headers["Authorization"] = f"Bearer {secret}"
        assert stranger.get("/v1/webhooks").json()["webhooks"] == []
        for method, path in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/rotate"),
            ("GET", "/deliveries"),
        ]:
            body = {} if method == "PATCH" else None
            answer = stranger.request(method, f"/v1/webhooks/{endpoint_id}{path}", json=body)
            assert_problem(answer, 404, "webhook_not_found")
    assert client.delete(f"/v1/webhooks/{endpoint_id}").status_code == 204
    assert client.get("/v1/webhooks").json()["webhooks"] == []
