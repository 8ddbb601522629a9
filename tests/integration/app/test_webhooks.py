"""Webhooks from the job's event to a receiver that checks them with the public library."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from sqlalchemy import func, select, text, update
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from app import maintenance
from app.db import deliveries, quarantine, tables
from app.deliver import Deliverer, run
from app.domain.ids import id_at
from app.domain.quarantine import Loop
from app.domain.shares import Shares
from app.main import create_app
from app.services import keys, projects
from app.services.quarantine import Guard
from app.settings import Webhooks
from app.webhooks.guard import LOOPBACK
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
    """One round of deliveries, to its end; returns how many attempts were made."""

    def deliver(networks=LOOPBACK, deadline=15, **options):
        async def rounds():
            async with Sender(networks, deadline) as sender:
                deliverer = Deliverer(engine, sender, **options)
                begun = await deliverer.begin_due()
                if deliverer.busy:
                    await asyncio.wait(deliverer.busy)
                return begun

        return asyncio.run(rounds())

    return deliver


@pytest.fixture
def settings(settings):
    """Loopback is this test's public network."""
    return settings.model_copy(update={"webhooks": Webhooks(allow_loopback=True, max_endpoints=12)})


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


def test_a_name_that_comes_to_a_private_address_is_refused_at_delivery(
    client, receiver, webhook, deliver
):
    end_a_job(client)
    assert deliver(networks=()) == 1
    (entry,) = log(client, webhook)
    assert "not public" in entry["last_error"]
    assert receiver.received == []
    endpoint = client.get(f"/v1/webhooks/{webhook['webhook']['id']}").json()
    assert endpoint["state"] == "failing"
    assert "'localhost' is at" in endpoint["last_error"]
    assert endpoint["failing_since"]


BAD = [
    *("ftp://example.com", "http://", "no url", "https://u:p@example.com", "http://a:b"),
    *("http://example.com/\x01", "http://example.com/a b", "http://example.com\n"),
    *("http://2130706433/", "http://0x7f.1/", "http://localhost./", "http://example.com/#x"),
    *("http://10.0.0.1/", "http://169.254.169.254/latest", "http://[fd00::1]/", "http://0.0.0.0/"),
    *("http://[::ffff:10.0.0.1]/", "http://[64:ff9b:1::a00:1]/", "http://[fec0::1]/"),
]


@pytest.mark.parametrize("url", BAD)
def test_bad_urls_and_private_addresses_are_refused(client, webhook, url):
    answer = client.post("/v1/webhooks", json={"url": url})
    assert_problem(answer, 422, "webhook_address_refused")
    assert "u:p" not in answer.text
    path = f"/v1/webhooks/{webhook['webhook']['id']}"
    answer = client.patch(path, json={"url": url})
    assert_problem(answer, 422, "webhook_address_refused")
    assert client.get(path).json()["url"] == webhook["webhook"]["url"]


def test_the_operators_networks_open_an_address(engine, settings, client):
    hooks = Webhooks(allow_networks="10.20.0.0/16, fd00::/8")
    wider = settings.model_copy(update={"webhooks": hooks})
    with TestClient(create_app(wider)) as inside:
        inside.headers["Authorization"] = client.headers["Authorization"]
        for url in ("http://10.20.3.4:8080/hook", "http://[fd00::9]/hook"):
            assert inside.post("/v1/webhooks", json={"url": url}).status_code == 201
        answer = inside.post("/v1/webhooks", json={"url": "http://127.0.0.1/"})
        assert_problem(answer, 422, "webhook_address_refused")
        assert "ALLOW_NETWORKS" in answer.json()["detail"]


def test_a_project_has_a_bounded_number_of_endpoints(client, settings):
    url = {"url": "https://example.com/hook"}
    made = [client.post("/v1/webhooks", json=url) for _ in range(settings.webhooks.max_endpoints)]
    assert {each.status_code for each in made} == {201}
    assert_problem(client.post("/v1/webhooks", json=url), 403, "quota_webhooks")
    client.delete(f"/v1/webhooks/{made[0].json()['webhook']['id']}")
    assert client.post("/v1/webhooks", json=url).status_code == 201


def change(engine, table, endpoint_id, **values):
    column = table.c.endpoint_id if table is tables.deliveries else table.c.id
    with engine.begin() as connection:
        connection.execute(update(table).where(column == endpoint_id).values(**values))


@pytest.mark.parametrize(
    "poison", [{"url": "http://a\x01b/"}, {"url": "not a url"}, {"url": "http://[::1/"}]
)
def test_a_malformed_url_of_old_fails_alone(client, engine, receiver, deliver, poison):
    bad, good = (client.post("/v1/webhooks", json={"url": receiver.url}).json() for _ in range(2))
    change(engine, tables.webhooks, bad["webhook"]["id"], **poison)
    end_a_job(client)
    assert deliver() == 2
    assert log(client, good)[0]["state"] == "delivered"
    (entry,) = log(client, bad)
    assert (entry["state"], entry["attempts"]) == ("pending", 1)
    assert entry["last_error"]


def next_try(engine, pause):
    with engine.begin() as connection:
        connection.execute(update(tables.quarantine).values(next_at=func.now() + pause))


def test_a_poison_row_is_set_aside_and_tried_again(client, engine, receiver, deliver):
    bad, good = (client.post("/v1/webhooks", json={"url": receiver.url}).json() for _ in range(2))
    change(engine, tables.webhooks, bad["webhook"]["id"], secret="whsec_not base64!")
    end_a_job(client)
    assert deliver() == 2
    assert log(client, good)[0]["state"] == "delivered"
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.DELIVER, log(client, bad)[0]["id"])
    assert "base64" in found.reason
    endpoint_id = bad["webhook"]["id"]
    change(engine, tables.deliveries, endpoint_id, next_at=func.now())
    next_try(engine, timedelta(hours=1))
    assert deliver() == 0, "it waits for its next try"
    change(engine, tables.webhooks, endpoint_id, secret=good["secret"])
    next_try(engine, timedelta(0))
    assert deliver() == 1
    assert log(client, bad)[0]["state"] == "delivered"


def test_a_row_that_cannot_be_taken_keeps_no_other(client, engine, receiver, deliver):
    bad, good = (client.post("/v1/webhooks", json={"url": receiver.url}).json() for _ in range(2))
    end_a_job(client)
    change(engine, tables.deliveries, bad["webhook"]["id"], attempts=2**31 - 1)
    assert deliver() == 1
    assert log(client, good)[0]["state"] == "delivered"
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.DELIVER, log(client, bad)[0]["id"])


def test_an_endpoint_that_fails_for_long_is_disabled_and_told(client, engine, receiver, deliver):
    patience = timedelta(hours=1)
    webhook = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    wanted = {"url": f"{receiver.url}&other", "events": ["webhook.disabled"]}
    other = client.post("/v1/webhooks", json=wanted).json()
    endpoint_id = webhook["webhook"]["id"]
    path = f"/v1/webhooks/{endpoint_id}"
    end_a_job(client)
    receiver.answers = [500]
    deliver(patience=patience)
    seen = client.get(path).json()
    assert (seen["state"], seen["enabled"]) == ("failing", True)
    assert seen["last_error"] == "the receiver answered 500"
    long_ago = func.now() - patience * 1.01
    change(engine, tables.webhooks, endpoint_id, failing_since=long_ago)
    change(engine, tables.deliveries, endpoint_id, next_at=func.now())
    receiver.answers = [500]
    deliver(patience=patience)
    seen = client.get(path).json()
    assert (seen["state"], seen["enabled"]) == ("disabled", False)
    assert seen["disabled_reason"].startswith("every attempt of 1 hours failed")
    actions = [
        (each["action"], each["target"]) for each in client.get("/v1/audit").json()["entries"]
    ]
    assert actions[0] == ("webhook.disable", endpoint_id)
    assert deliver() == 1
    (told,) = log(client, other)
    assert told["payload"]["type"] == "webhook.disabled"
    assert told["payload"]["data"]["webhook_id"] == endpoint_id
    assert client.patch(path, json={"enabled": True}).json()["state"] == "active"
    change(engine, tables.deliveries, endpoint_id, next_at=func.now())
    assert deliver() == 1
    assert log(client, webhook)[0]["state"] == "delivered", "what it missed still waits"


def test_failures_with_long_silence_between_are_not_one_outage(
    client, engine, receiver, webhook, deliver
):
    endpoint_id = webhook["webhook"]["id"]
    month = func.now() - timedelta(days=30)
    change(engine, tables.webhooks, endpoint_id, failing_since=month, failed_at=month)
    end_a_job(client)
    receiver.answers = [500]
    deliver()
    assert client.get(f"/v1/webhooks/{endpoint_id}").json()["state"] == "failing"


class Dripping(BaseHTTPRequestHandler):
    """Takes a message, and answers one byte of an endless head at a time."""

    def do_POST(self):
        self.server.reached.set()
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.ended.wait(0.02):
                self.wfile.write(b"x")
                self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def dripping():
    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        server.ended, server.reached = threading.Event(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/hook"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


def test_an_attempt_ends_at_its_deadline_however_the_receiver_drips(client, dripping, deliver):
    webhook = client.post("/v1/webhooks", json={"url": dripping.url}).json()
    end_a_job(client)
    assert deliver(deadline=0.3) == 1
    assert log(client, webhook)[0]["last_error"] == "no whole answer within 0.3 s"


def test_a_resolver_that_hangs_is_part_of_the_deadline(client, webhook, deliver, monkeypatch):
    ended, real = threading.Event(), socket.getaddrinfo

    def hang(host, *rest, **options):
        return ended.wait(30) if host == "localhost" else real(host, *rest, **options)

    end_a_job(client)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    threading.Timer(1, ended.set).start()
    deliver(deadline=0.2)
    assert log(client, webhook)[0]["last_error"] == "no whole answer within 0.2 s"


def test_one_projects_slow_receivers_hold_up_nobody_else(
    client, settings, engine, receiver, dripping
):
    for _ in range(10):
        client.post("/v1/webhooks", json={"url": dripping.url})
    for _ in range(3):
        end_a_job(client)
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = keys.issue(connection, "theirs", project_id=other.id)
    stop = threading.Event()
    sender = Sender(LOOPBACK, 60)
    deliverer = Deliverer(engine, sender, shares=Shares(total=9, project=8, endpoint=4))
    thread = threading.Thread(target=run, args=(deliverer, sender, stop, 0.1))
    thread.start()
    try:
        assert dripping.reached.wait(20)
        with TestClient(create_app(settings)) as stranger:
            stranger.headers["Authorization"] = f"Bearer {secret}"
            webhook = stranger.post("/v1/webhooks", json={"url": receiver.url}).json()
            end_a_job(stranger)
            while not receiver.received:
                stop.wait(0.05)
            while log(stranger, webhook)[0]["state"] != "delivered":
                stop.wait(0.05)
        assert len(deliverer.busy) == 8, "the slow ones are under way all the while"
    finally:
        stop.set()
        thread.join()
    with engine.connect() as connection:
        left = connection.execute(
            select(tables.deliveries.c.attempts, tables.deliveries.c.next_at <= func.now()).where(
                tables.deliveries.c.state == "pending"
            )
        ).all()
    assert left == [(0, True)] * 30, "what was broken off is made again at once"


def test_maintenance_that_is_asked_to_end_ends_within_its_grace(
    client, settings, engine, dripping, receiver
):
    webhook = client.post("/v1/webhooks", json={"url": dripping.url}).json()
    end_a_job(client)
    environment = os.environ | settings.environment() | {"SECATEUR_MAINTENANCE__GRACE_SECONDS": "5"}
    command = [sys.executable, "-m", "app.maintenance"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert dripping.reached.wait(60)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "made again later" in said
    assert "did not end within" not in said
    (entry,) = log(client, webhook)
    assert (entry["state"], entry["attempts"]) == ("pending", 0)


def test_messages_are_forgotten_after_their_time(client, engine, webhook, deliver, monkeypatch):
    monkeypatch.setattr(maintenance, "FORGET_BATCH", 2)
    for _ in range(5):
        end_a_job(client)
    deliver()
    old, young = [each["id"] for each in log(client, webhook)][:5], end_a_job(client)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    with engine.begin() as connection:
        for number, each in enumerate(old):
            made_then = f"{id_at('msg', long_ago)}{number:020x}"
            query = update(tables.deliveries).where(tables.deliveries.c.id == each)
            connection.execute(query.values(id=made_then))
    guard = Guard(engine)
    maintenance._forget(guard, timedelta(days=32))
    assert len(log(client, webhook)) == 6
    maintenance._forget(guard, timedelta(days=30))
    [left] = log(client, webhook)
    assert young in str(left["payload"])


def test_deliveries_go_on_after_a_look_that_fails(client, engine, receiver, webhook, monkeypatch):
    real, faults = deliveries.all_due, [psycopg.OperationalError("away"), KeyError("odd")]

    def all_due(*given):
        if faults:
            raise faults.pop(0)
        return real(*given)

    monkeypatch.setattr(deliveries, "all_due", all_due)
    monkeypatch.setattr(quarantine, "FIRST", timedelta(0))
    end_a_job(client)
    stop, sender = threading.Event(), Sender(LOOPBACK)
    thread = threading.Thread(target=run, args=(Deliverer(engine, sender), sender, stop, 0.05))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not receiver.received and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    assert len(receiver.received) == 1


def wait_for_locks(engine, transactions):
    """Until so many transactions wait for another's lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while True:
        with engine.connect() as connection:
            if connection.execute(waiting).scalar_one() == transactions:
                return
        time.sleep(0.02)


def test_an_endpoint_may_be_removed_while_a_delivery_to_it_is_settled(
    client, engine, receiver, webhook, deliver
):
    receiver.answers = [500]
    end_a_job(client)
    endpoint_id = webhook["webhook"]["id"]
    row = select(tables.webhooks.c.id).where(tables.webhooks.c.id == endpoint_id)
    with engine.connect() as holder, ThreadPoolExecutor(2) as threads:
        holder.execute(row.with_for_update())
        removal = threads.submit(client.delete, f"/v1/webhooks/{endpoint_id}")
        wait_for_locks(engine, 1)
        delivery = threads.submit(deliver)
        wait_for_locks(engine, 2)
        holder.rollback()
        assert removal.result().status_code == 204
        assert delivery.result() == 1
    with engine.connect() as connection:
        assert quarantine.newest(connection, limit=1) == [], "no deadlock was broken up"


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
