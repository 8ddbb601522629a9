"""Receivers that fail, hang or drip, and rows that cannot be delivered, hold up nobody else."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import func, select, text, update
from starlette.testclient import TestClient

from app import maintenance
from app.db import quarantine, tables, webhooks
from app.domain.quarantine import Loop
from app.domain.webhooks import Shares
from app.ids import id_at
from app.main import create_app
from app.services.projects import service as projects
from app.services.quarantine import Guard
from app.services.webhooks.delivery import Deliverer, run
from app.webhooks.guard import LOOPBACK
from app.webhooks.sender import Sender
from tests.integration.app.api.webhooks.deliveries import delivery_log, end_a_job


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
    assert delivery_log(client, good)[0]["state"] == "delivered"
    (entry,) = delivery_log(client, bad)
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
    assert delivery_log(client, good)[0]["state"] == "delivered"
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.DELIVER, delivery_log(client, bad)[0]["id"])
    assert "base64" in found.reason
    endpoint_id = bad["webhook"]["id"]
    change(engine, tables.deliveries, endpoint_id, next_at=func.now())
    next_try(engine, timedelta(hours=1))
    assert deliver() == 0, "it waits for its next try"
    change(engine, tables.webhooks, endpoint_id, secret=good["secret"])
    next_try(engine, timedelta(0))
    assert deliver() == 1
    assert delivery_log(client, bad)[0]["state"] == "delivered"


def test_a_row_that_cannot_be_taken_keeps_no_other(client, engine, receiver, deliver):
    bad, good = (client.post("/v1/webhooks", json={"url": receiver.url}).json() for _ in range(2))
    end_a_job(client)
    change(engine, tables.deliveries, bad["webhook"]["id"], attempts=2**31 - 1)
    assert deliver() == 1
    assert delivery_log(client, good)[0]["state"] == "delivered"
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.DELIVER, delivery_log(client, bad)[0]["id"])


def test_messages_are_forgotten_after_their_time(client, engine, webhook, deliver, monkeypatch):
    monkeypatch.setattr(maintenance, "TIDY_BATCH", 2)
    for _ in range(5):
        end_a_job(client)
    deliver()
    old, young = [each["id"] for each in delivery_log(client, webhook)][:5], end_a_job(client)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    with engine.begin() as connection:
        for number, each in enumerate(old):
            made_then = f"{id_at('msg', long_ago)}{number:020x}"
            query = update(tables.deliveries).where(tables.deliveries.c.id == each)
            connection.execute(query.values(id=made_then))
    guard = Guard(engine)
    maintenance._forget(guard, timedelta(days=32))
    assert len(delivery_log(client, webhook)) == 6
    maintenance._forget(guard, timedelta(days=30))
    [left] = delivery_log(client, webhook)
    assert young in str(left["payload"])


def test_deliveries_go_on_after_a_look_that_fails(client, engine, receiver, webhook, monkeypatch):
    real, faults = webhooks.due_deliveries, [psycopg.OperationalError("away"), KeyError("odd")]

    def due_deliveries(*given):
        if faults:
            raise faults.pop(0)
        return real(*given)

    monkeypatch.setattr(webhooks, "due_deliveries", due_deliveries)
    monkeypatch.setattr(quarantine, "FIRST", timedelta(0))
    end_a_job(client)
    stop, sender = threading.Event(), Sender(LOOPBACK, 15)
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
    (told,) = delivery_log(client, other)
    assert told["payload"]["type"] == "webhook.disabled"
    assert told["payload"]["data"]["webhook_id"] == endpoint_id
    assert client.patch(path, json={"enabled": True}).json()["state"] == "active"
    change(engine, tables.deliveries, endpoint_id, next_at=func.now())
    assert deliver() == 1
    assert delivery_log(client, webhook)[0]["state"] == "delivered", "what it missed still waits"


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


def test_an_attempt_ends_at_its_deadline_however_the_receiver_drips(client, dripping, deliver):
    webhook = client.post("/v1/webhooks", json={"url": dripping.url}).json()
    end_a_job(client)
    assert deliver(deadline=0.3) == 1
    assert delivery_log(client, webhook)[0]["last_error"] == "no whole answer within 0.3 s"


def test_a_resolver_that_hangs_is_part_of_the_deadline(client, webhook, deliver, monkeypatch):
    ended, real = threading.Event(), socket.getaddrinfo

    def hang(host, *rest, **options):
        return ended.wait(30) if host == "localhost" else real(host, *rest, **options)

    end_a_job(client)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    threading.Timer(1, ended.set).start()
    deliver(deadline=0.2)
    assert delivery_log(client, webhook)[0]["last_error"] == "no whole answer within 0.2 s"


def test_one_projects_slow_receivers_hold_up_nobody_else(
    client, settings, engine, receiver, dripping
):
    for _ in range(10):
        client.post("/v1/webhooks", json={"url": dripping.url})
    for _ in range(3):
        end_a_job(client)
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = projects.issue_key(connection, "theirs", project_id=other.id)
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
            while delivery_log(stranger, webhook)[0]["state"] != "delivered":
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
    (entry,) = delivery_log(client, webhook)
    assert (entry["state"], entry["attempts"]) == ("pending", 0)


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
