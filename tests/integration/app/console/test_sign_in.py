"""Who may see pages: a key for a session, which ends; forms come from our own pages alone."""

import logging
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from app.console import sessions as module
from app.console.routes import sign_in
from app.domain.projects import Scope
from app.services.projects import service as projects

JOBS = "/console/jobs"
NAMES = ("new", "sweeps", "datasets", "models", "webhooks", "workers", "project")
PAGES = [JOBS, *(f"/console/{name}" for name in NAMES)]


def test_browsers_find_the_console_at_the_root_and_programs_what_they_had(stranger):
    answer = stranger.get("/", 303, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.headers["location"] == "/console"
    assert stranger.get("/console", 303).headers["location"] == JOBS
    for accept in ("*/*", "application/json"):
        assert stranger.get("/", accept=accept).json()["service"] == "Secateur"


def test_who_has_not_signed_in_is_asked_to_and_comes_back(stranger, secret):
    for page in PAGES:
        assert "sign-in?next" in stranger.get(page, 303).headers["location"]
    page = JOBS
    asked = stranger.get(f"{page}?status=failed", 303).headers["location"]
    assert asked.startswith("/console/sign-in?next=%2Fconsole")
    form = stranger.get(asked).text
    assert f'value="{page}?status=failed"' in form
    signed = stranger.post("/console/sign-in", {"key": secret[1], "next": f"{page}?status=failed"})
    assert signed.headers["location"] == f"{page}?status=failed"
    stranger.get(signed.headers["location"])


def test_the_cookie_is_for_the_console_alone_and_no_script(stranger, secret):
    cookie = stranger.post("/console/sign-in", {"key": secret[1]}).headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=lax", "path=/console", "max-age=43200"}
    assert secret[1] not in cookie
    tls = {"x-forwarded-proto": "https"}
    assert (
        "Secure"
        in stranger.post("/console/sign-in", {"key": secret[1]}, **tls).headers["set-cookie"]
    )


def test_the_cookie_opens_nothing_of_the_api(person):
    held = {"cookie": f"{module.COOKIE}={person.client.cookies[module.COOKIE]}"}
    assert person.get(JOBS, **held)
    assert person.get("/v1/jobs", 401, **held).json()["code"] == "api_key_missing"


def test_a_wrong_key_is_told_and_kept_out_of_pages_and_logs(stranger, caplog):
    caplog.set_level(logging.DEBUG)
    answer = stranger.post("/console/sign-in", {"key": "sct_wrong<b>"}, 401)
    assert "not known here" in answer.text
    assert "sct_wrong" not in answer.text
    assert "sct_wrong" not in caplog.text
    assert "set-cookie" not in answer.headers


def test_a_stranger_has_little_held_for_him(stranger, secret, monkeypatch):
    monkeypatch.setattr(sign_in, "SMALL", 200)
    stranger.post("/console/sign-in", {"key": secret[1]})
    assert "body_too_large" in stranger.post("/console/sign-in", {"key": "x" * 200}, 413).text
    chunks = iter([b"key=", secret[1].encode()])
    assert stranger.client.post("/console/sign-in", content=chunks).status_code == 413


@pytest.mark.parametrize(
    "following",
    ["https://evil.example", "//evil.example", "/console/../docs", "/console\\evil", "/docs",
     "javascript:alert(1)", "/console/\r\nX: y"],
)  # fmt: skip
def test_the_sign_in_leads_nowhere_else(stranger, secret, following):
    answer = stranger.post("/console/sign-in", {"key": secret[1], "next": following})
    assert answer.headers["location"] == JOBS


def test_sessions_end_with_their_time(person, monkeypatch):
    later = module.time.time() + 12 * 3600 + 1
    monkeypatch.setattr(module.time, "time", lambda: later)
    assert "sign-in" in person.get(JOBS, 303).headers["location"]


def test_sessions_end_with_their_key(person, secret, engine):
    with engine.begin() as connection:
        caller = projects.authenticate(connection, secret[1])
        projects.revoke_key(connection, caller, secret[0].id)
    answer = person.get(JOBS, 303)
    assert "sign-in" in answer.headers["location"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    part = person.get(JOBS, 204, **{"hx-request": "true"})
    assert part.headers["hx-redirect"].startswith("/console/sign-in")


def test_signing_out(person):
    answer = person.send("/console/sign-out")
    assert answer.headers["location"] == "/console/sign-in"
    assert "Max-Age=0" in answer.headers["set-cookie"]
    person.get(JOBS, 303)


def test_forms_without_the_token_are_refused(person):
    for fields in ({}, {"csrf_token": "0" * 64}):
        assert "csrf_token_invalid" in person.post("/console/sign-out", fields, 403).text
    person.get(JOBS)  # still signed in
    header = {"x-csrf-token": person.token}
    person.post("/console/sign-out", {}, 303, **header)


def test_forms_of_other_sites_are_refused_token_or_not(person, secret):
    for head in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
                 {"origin": "https://evil.example"}, {"origin": "null"}):  # fmt: skip
        person.send("/console/sign-out", status=403, **head)
        person.post("/console/sign-in", {"key": secret[1]}, 403, **head)
    person.send("/console/sign-out", origin="http://testserver")


class Tags(HTMLParser):
    """Fails on anything that the content policy would refuse."""

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        assert tag != "style"
        assert tag != "script" or names.get("src", "").startswith("/console/static/")
        refused = [name for name in names if name.startswith("on") or name == "style"]
        assert not refused, (tag, refused)


def test_every_page_is_strict_about_what_runs(person):
    for page in ("/console/sign-in", *PAGES, f"{JOBS}?limit=x", f"{JOBS}/none"):
        is_strict(person.client.get(page))


def is_strict(answer):
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    Tags().feed(answer.text)


def test_statics_keep_for_ever_and_others_are_not_there(person):
    page = person.get(JOBS).text
    [style] = [part for part in page.split('"') if part.endswith("console.css")]
    assert "immutable" in person.get(style).headers["cache-control"]
    for path in ("0/console.css", "x/../../pages.py", "x/%2e%2e/%2e%2e/pages.py", "x/none"):
        assert person.client.get(f"/console/static/{path}").status_code == 404


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_is_shown_what_it_may_do(stranger, key_of, scope):
    page = stranger.sign_in(key_of(scope)).get(JOBS).text
    assert ('href="/console/new"' in page) == (scope is not Scope.READ)


def test_pages_count_as_requests(person, limits):
    limits(requests_per_minute=1)
    statuses = [person.client.get(JOBS).status_code for _ in range(3)]
    assert 429 in statuses


@pytest.mark.parametrize(
    ("header", "page", "next_page"),
    [
        ("referer", "http://testserver/console/new?source=a", "/console/new?source=a"),
        ("hx-current-url", "http://testserver/console/new", "/console/new"),
        ("referer", "http://testserver/v1/jobs", "/console/jobs"),
        ("referer", "http://[", "/console/jobs"),
    ],
)
def test_a_form_whose_session_has_ended_leads_back_to_its_page(stranger, header, page, next_page):
    answer = stranger.post("/console/new", {"model": "tiny"}, **{header: page})
    assert answer.headers["location"] == f"/console/sign-in?{urlencode({'next': next_page})}"
