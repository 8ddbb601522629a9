"""Webhooks from the job's event to a receiver that checks them with the public library."""

import pytest
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from app.main import create_app
from app.services.projects import service as projects
from app.settings.maintenance import Webhooks
from tests.integration.app.api.webhooks.deliveries import JOB, delivery_log, end_a_job
from tests.integration.app.problem import assert_problem


def test_the_end_of_a_job_is_told_once_and_signed(client, receiver, webhook, deliver):
    job_id = end_a_job(client)
    assert (deliver(), deliver()) == (1, 0)
    ((body, headers),) = receiver.received
    message = Webhook(webhook["secret"]).verify(body, headers)
    assert message["type"] == "job.cancelled"
    assert message["data"] == {"job_id": job_id, "attempt": 0, "labels": {}}
    (entry,) = delivery_log(client, webhook)
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
    told = [entry["event"] for entry in delivery_log(client, webhook)]
    assert told == ["job.succeeded", "job.running"]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_what_is_not_2xx_is_tried_again_under_the_same_id(
    client, receiver, webhook, deliver, make_due, status
):
    end_a_job(client)
    receiver.answers = [status, 200]
    assert (deliver(), deliver()) == (1, 0)
    (entry,) = delivery_log(client, webhook)
    assert (entry["state"], entry["last_status"]) == ("pending", status)
    make_due()
    assert deliver() == 1
    (entry,) = delivery_log(client, webhook)
    assert (entry["state"], entry["attempts"]) == ("delivered", 2)
    names = {name.lower(): name for name in receiver.received[0][1]}
    assert len({headers[names["webhook-id"]] for _, headers in receiver.received}) == 1


def test_attempts_end_after_the_schedule(client, receiver, webhook, deliver, make_due):
    end_a_job(client)
    receiver.answers = [500] * 20
    for _ in range(12):
        if delivery_log(client, webhook)[0]["next_at"]:
            make_due()
        deliver()
    (entry,) = delivery_log(client, webhook)
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
    assert len(delivery_log(client, webhook)) == 1
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
    told = {
        entry["payload"]["data"]["job_id"]: entry["state"]
        for entry in delivery_log(client, webhook)
    }
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
    (entry,) = delivery_log(client, webhook)
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
    (entry,) = delivery_log(client, webhook)
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


def test_secrets_are_shown_once_and_endpoints_are_a_projects_own(client, settings, engine, webhook):
    endpoint_id = webhook["webhook"]["id"]
    assert webhook["secret"] not in client.get("/v1/webhooks").text
    with engine.begin() as connection:
        other = projects.create(connection, "other")
        _, secret = projects.issue_key(connection, "theirs", project_id=other.id)
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
