"""People who sign in at the issuer come back with a session, and only to where they began."""

import logging
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from app.console import sessions as module
from app.domain.projects import Scope
from app.oidc import issuer as issuer_module
from app.services.projects.service import create
from app.settings.oidc import Oidc
from tests.integration.app.console.conftest import CSRF, Browser
from tests.integration.oidc_issuer import AUDIENCE, CLIENT, CLIENT_SECRET

JOBS = "/console/jobs"
LEAVE = "/console/sign-in/issuer"


@pytest.fixture
def oidc(issuer):
    issuer.person(sub="ada", project="vision", scope="secateur:admin")
    return Oidc(
        issuer=issuer.url,
        audience=AUDIENCE,
        client_id=CLIENT,
        client_secret=CLIENT_SECRET,
        clients=("ci",),
        sign_in_parameters={"audience": AUDIENCE, "state": "ours goes before"},
    )


@pytest.fixture
def settings(settings, oidc, engine):
    with engine.begin() as connection:
        create(connection, "vision")
    return settings.model_copy(update={"oidc": oidc})


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(issuer_module, "PAUSE", 0.0)


def leave(browser, following=JOBS, scheme="http"):
    """To the issuer and on to the address to which it sends the browser back."""
    asked = f"{scheme}://testserver{LEAVE}?{urlencode({'next': following})}"
    sent = browser.get(asked, 303)
    back = browser.issuer.http.get(sent.headers["location"])
    assert back.status_code == 302
    address = back.headers["location"]
    assert address.startswith(f"{scheme}://testserver/console/sign-in/callback?")
    return address


@pytest.fixture
def somebody(stranger, issuer):
    """A browser, and the issuer that it reaches; its person is sent by the console's client."""
    issuer.person(sub="ada", project="vision", scope="secateur:admin", azp=CLIENT)
    stranger.issuer = issuer
    return stranger


def refused(browser, address, reason, status=401):
    answer = browser.get(address, status)
    assert reason in answer.text, answer.text
    kept = answer.headers.get_list("set-cookie")
    assert not any(each.startswith(f"{module.COOKIE}=") for each in kept)
    browser.get(JOBS, 303)
    return answer


def test_somebody_signs_in_and_is_known_by_name(somebody):
    page = somebody.get("/console/sign-in?next=/console/project").text
    assert f"{LEAVE}?next=%2Fconsole%2Fproject" in page
    answer = somebody.get(leave(somebody, "/console/project"), 303)
    assert answer.headers["location"] == "/console/project"
    page = somebody.get("/console/project").text
    assert "vision" in page
    assert "ada" in page
    token = CSRF.search(page)[1]
    somebody.post(
        "/console/project/keys", {"csrf_token": token, "name": "ci", "scope": "read"}, 200
    )
    assert "oidc:ada" in somebody.get("/console/project").text
    somebody.post("/console/sign-out", {"csrf_token": token})
    somebody.get(JOBS, 303)


def test_the_issuer_is_asked_with_pkce_state_and_nonce(somebody):
    addresses = [somebody.get(LEAVE, 303).headers["location"] for _ in range(2)]
    first, second = (parse_qs(urlsplit(address).query) for address in addresses)
    assert first["code_challenge_method"] == ["S256"]
    assert first["response_type"] == ["code"]
    assert first["audience"] == [AUDIENCE]
    assert "openid" in first["scope"][0].split()
    assert first["redirect_uri"] == ["http://testserver/console/sign-in/callback"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) == 43
        assert first[name] != second[name]


def test_cookies_are_for_this_browser_and_no_script(somebody):
    kept = somebody.get(LEAVE, 303).headers.get_list("set-cookie")
    assert all("HttpOnly" in each and "SameSite=lax" in each for each in kept)
    assert all("Path=/console/sign-in" in each and "Max-Age=600" in each for each in kept)
    back = leave(somebody, scheme="https")
    answer = somebody.get(back, 303)
    [session] = [each for each in answer.headers.get_list("set-cookie") if "session" in each]
    parts = {part.strip().lower() for part in session.split(";")[1:]}
    assert parts == {"httponly", "samesite=lax", "path=/console", "max-age=3600", "secure"}
    assert "eyJ" not in session, "no token is kept"
    gone = [each for each in answer.headers.get_list("set-cookie") if "Max-Age=0" in each]
    assert len(gone) == 2, "what was kept for the way is not needed any more"


@pytest.mark.parametrize("scope", list(Scope))
def test_the_scope_is_that_of_the_token(somebody, scope):
    somebody.issuer.person(sub="bob", project="vision", scope=f"secateur:{scope}", azp=CLIENT)
    somebody.get(leave(somebody), 303)
    page = somebody.get(JOBS).text
    assert ('href="/console/new"' in page) == (scope is not Scope.READ)
    assert ('href="/console/webhooks"' in page) == (scope is Scope.ADMIN)


def test_who_did_not_begin_here_does_not_come_in(somebody):
    back = leave(somebody)
    before = somebody.issuer.asked().get("token", 0)
    for other in (back.replace("state=", "state=x"), back.partition("&state")[0], f"{back}&iss=x"):
        refused(somebody, other, "try again")
        back = leave(somebody)
    somebody.client.cookies.clear()
    refused(somebody, back, "this browser has begun no such sign-in")
    somebody.client.cookies.set("secateur_sign_in", "x.y.z")
    refused(somebody, back, "this browser has begun no such sign-in")
    assert somebody.issuer.asked().get("token", 0) == before, "no code was sent on"


@pytest.mark.parametrize(
    "query", ["", "state=%ff&code=%00", "state=%ed%a0%80", "state=" + "x" * 9000]
)
def test_nonsense_is_no_way_back(somebody, query):
    leave(somebody)
    refused(somebody, f"/console/sign-in/callback?{query}", "try again")


def test_a_code_of_somebody_else_is_of_no_use(somebody, anonymous):
    """The code of one browser, put into the way back of another, lacks the other's verifier."""
    stolen = parse_qs(urlsplit(leave(somebody)).query)["code"][0]
    somebody.client.cookies.clear()
    back = urlsplit(leave(somebody))
    query = {name: value[0] for name, value in parse_qs(back.query).items()} | {"code": stolen}
    refused(somebody, f"{back.path}?{urlencode(query)}", "did not exchange the code")


def test_a_code_is_good_once(somebody):
    back = leave(somebody)
    kept = dict(somebody.client.cookies)
    somebody.get(back, 303)
    somebody.client.cookies.clear()
    for name, value in kept.items():
        somebody.client.cookies.set(name, value)
    refused(somebody, back, "did not exchange the code")


def test_who_is_refused_by_the_issuer_is_told(somebody):
    back = urlsplit(leave(somebody))
    state = parse_qs(back.query)["state"][0]
    answer = urlencode({"state": state, "error": "access_denied", "error_description": "<b>no"})
    page = refused(somebody, f"{back.path}?{answer}", "did not let you sign in").text
    assert "<b>no" not in page


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ({"nonce": "x" * 43}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"nonce": 7}, "another sign-in"),
        ({"aud": AUDIENCE}, "aud"),
        ({"aud": "other"}, "aud"),
        ({"azp": "other"}, "another client"),
        ({"sub": "mallory"}, "somebody else"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 0}, "expired"),
    ],
)
def test_the_id_token_is_of_this_sign_in(somebody, identity, reason):
    somebody.issuer.spoil(id_token=identity)
    refused(somebody, leave(somebody), reason)


@pytest.mark.parametrize(
    "overlay", [{"id_token": "x"}, {"access_token": "opaque"}, {"id_token": None}, "no JSON", 500]
)
def test_what_the_issuer_hands_out_is_looked_at(somebody, overlay):
    somebody.issuer.spoil(token=overlay)
    status = 401 if isinstance(overlay, dict) else 503
    somebody.get(leave(somebody), status)
    somebody.get(JOBS, 303)


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ({"project": "vision"}, "grant"),
        ({"scope": "secateur:read"}, "no project"),
        ({"project": "none", "scope": "secateur:read"}, "there is none"),
        ({"project": "vision", "scope": "secateur:read", "azp": "other"}, "client"),
    ],
)
def test_who_may_nothing_here_is_told_why(somebody, person, reason):
    somebody.issuer.person(**{"sub": "eve", "azp": CLIENT} | person)
    if person.get("azp") == "other":
        somebody.issuer.spoil(id_token={"azp": CLIENT})
    refused(somebody, leave(somebody), reason, 403)


@pytest.mark.parametrize("following", ["https://evil.example", "//evil.example", "/docs"])
def test_the_way_back_leads_nowhere_else(somebody, following):
    assert somebody.get(leave(somebody, following), 303).headers["location"] == JOBS
    back = leave(somebody)
    somebody.client.cookies.set("secateur_sign_in_next", following, path="/console/sign-in")
    somebody.client.cookies.delete("secateur_sign_in_next", domain="testserver.local")
    assert somebody.get(back, 303).headers["location"] == JOBS


def test_a_session_ends_with_its_time_and_with_its_project(somebody, engine, monkeypatch):
    somebody.get(leave(somebody), 303)
    somebody.get(JOBS)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE projects SET name = 'closed' WHERE name = 'vision'")
    answer = somebody.get(JOBS, 303)
    assert "sign-in" in answer.headers["location"]
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE projects SET name = 'vision' WHERE name = 'closed'")
    somebody.get(leave(somebody), 303)
    somebody.get(JOBS)
    later = module.time.time() + 3601
    monkeypatch.setattr(module.time, "time", lambda: later)
    somebody.get(JOBS, 303)


def test_an_issuer_that_is_away_is_told_and_keys_go_on(somebody, secret):
    back = leave(somebody)
    somebody.issuer.end()
    page = somebody.get(back, 503)
    assert "issuer_unavailable" in page.text
    assert int(page.headers["retry-after"]) > 0
    Browser(somebody.client).sign_in(secret[1])


def test_neither_codes_nor_tokens_reach_a_log(somebody, caplog):
    caplog.set_level(logging.DEBUG, "secateur")
    back = leave(somebody)
    somebody.get(back, 303)
    refused_back = leave(somebody)
    somebody.issuer.spoil(id_token={"nonce": "x"})
    somebody.client.cookies.clear()
    refused(somebody, refused_back, "try again")
    assert "oidc:ada signed in" in caplog.text
    assert "eyJ" not in caplog.text
    assert CLIENT_SECRET not in caplog.text


class TestWithoutAnIssuer:
    @pytest.fixture
    def oidc(self):
        return Oidc()

    def test_the_console_is_for_keys(self, stranger):
        assert LEAVE not in stranger.get("/console/sign-in").text
        for path in (LEAVE, "/console/sign-in/callback?code=x&state=y"):
            assert "no issuer is set up" in stranger.get(path, 401).text

    def test_sessions_that_an_issuer_gave_are_over(self, stranger, settings):
        sessions = module.Sessions(module.signing_key(settings.console.signing_key), 60)
        grant = module.Grant("oidc:ada", "vision", Scope.ADMIN)
        stranger.client.cookies.set(module.COOKIE, sessions.begin(grant).token)
        stranger.get(JOBS, 303)
