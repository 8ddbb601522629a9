"""Every page and every form: without a session, with one that ended, for who reads, for others."""

import re

import pytest

from app.console import sessions
from app.console.routes import ROUTERS
from app.domain.projects import Scope
from app.services.projects.service import issue_key
from tests.integration.app.console.test_jobs import JOB
from tests.integration.app.console.test_lists import SWEEP

# The way in and out, and files that everybody gets.
OPEN = re.compile(r"/console(/sign-in.*|/sign-out|/static.*)?")
ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    for method in sorted(route.methods)
    if not OPEN.fullmatch(route.path)
]
# Pages that who only reads is not shown.
FORMS = {
    "/console/new",
    "/console/new-sweep",
    "/console/webhooks",
    "/console/webhooks/{webhook_id}",
}
FIELDS = {"name": "captioner", "scope": "read", "url": "https://8.8.8.8", "events": "job.failed"}
EVERY = pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda text: text)
OF_SOMETHING = [(method, path) for method, path in ROUTES if "{" in path]


@pytest.fixture
def ours(client, worker, engine):
    """One of everything in the first project, by the name of its parameter."""
    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    worker.succeed(worker.claim())
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    done = client.get("/v1/jobs?status=succeeded").json()["jobs"][0]["id"]
    client.post("/v1/models/captioner/versions", json={"job_id": done})
    endpoint = client.post("/v1/webhooks", json={"url": "https://8.8.8.8"}).json()["webhook"]
    with engine.begin() as connection:
        key, _ = issue_key(connection, "mine")
    return {
        "job_id": job,
        "sweep_id": sweep,
        "name": "captioner",
        "dataset_id": client.post("/v1/datasets", content=b'{"text": "one"}\n').json()["id"],
        "webhook_id": endpoint["id"],
        "delivery_id": "msg_0",
        "key_id": key.id,
        "path": "config.json",
        "change": "delete",
    }


def filled(path, ours):
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: ours[found[1]], path)


def ask(browser, method, path, token=None):
    fields = FIELDS if token is None else FIELDS | {"csrf_token": token}
    if (method, path) == ("POST", "/console/datasets"):
        files = {"file": ("rows.jsonl", b'{"text": "two"}\n')}
        return browser.client.post(path, data=fields, files=files, follow_redirects=False)
    data = {"data": fields} if method == "POST" else {}
    return browser.client.request(method, path, follow_redirects=False, **data)


def test_all_routes_are_here():
    assert len(ROUTES) > 30
    assert {path for _, path in ROUTES} >= FORMS


@EVERY
def test_without_a_session_everything_leads_to_the_sign_in(stranger, ours, method, path):
    answer = ask(stranger, method, filled(path, ours))
    assert (answer.status_code, "sign-in" in answer.headers["location"]) == (303, True)


def test_a_session_that_ended_opens_nothing_either(person, ours, monkeypatch):
    later = sessions.time.time() + 12 * 3600 + 1
    monkeypatch.setattr(sessions.time, "time", lambda: later)
    held = person.client.cookies[sessions.COOKIE]
    for method, path in ROUTES:
        person.client.cookies.set(sessions.COOKIE, held)
        answer = ask(person, method, filled(path, ours), person.token)
        assert (method, path, answer.status_code) == (method, path, 303)
        assert "sign-in" in answer.headers["location"]


def test_no_form_is_taken_without_the_token_of_the_session(person, ours):
    for method, path in ROUTES:
        if method == "POST":
            answer = ask(person, method, filled(path, ours))
            assert (path, answer.status_code) == (path, 403)
            assert "csrf_token_invalid" in answer.text


def test_who_only_reads_changes_nothing_and_sees_the_rest(stranger, key_of, ours):
    reader = stranger.sign_in(key_of(Scope.READ))
    for method, path in ROUTES:
        status = ask(reader, method, filled(path, ours), reader.token).status_code
        if method == "POST" or path in FORMS:
            assert (method, path, status) == (method, path, 403)
        else:
            assert (path, status) in {(path, 200), (path, 404)}  # a queued job has no files yet


def test_what_is_ours_is_not_there_for_another_project(stranger, key_of, ours):
    other = stranger.sign_in(key_of(Scope.ADMIN, project="other"))
    for method, path in OF_SOMETHING:
        status = ask(other, method, filled(path, ours), other.token).status_code
        assert (method, path, status) == (method, path, 404)
