"""The sign-in at an issuer in a real browser: there, back to where somebody wanted to go, out."""

import pytest

from app.services.projects.service import create
from app.settings.oidc import Oidc
from tests.browser import NEEDED, barriers, complaints, keep
from tests.integration.oidc_issuer import AUDIENCE, CLIENT, CLIENT_SECRET

pytestmark = NEEDED


@pytest.fixture
def settings(settings, issuer, engine):
    with engine.begin() as connection:
        create(connection, "vision")
    oidc = Oidc(
        issuer=issuer.url,
        audience=AUDIENCE,
        client_id=CLIENT,
        client_secret=CLIENT_SECRET,
        sign_in_parameters={"audience": AUDIENCE},
    )
    return settings.model_copy(update={"oidc": oidc})


@pytest.fixture
def person(issuer):
    """Tell the issuer who sits at the browser."""

    def sits(**claims):
        ada = {"sub": "ada", "project": "vision", "scope": "secateur:submit", "azp": CLIENT}
        issuer.person(**ada | claims)

    sits()
    return sits


def test_there_back_and_out(window, person, issuer):
    page = window()
    wrong = complaints(page)
    page.goto("/console/project")
    page.wait_for_url("**/console/sign-in?next=*")
    assert barriers(page) == []
    keep(page, "sign-in-at-issuer")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("link", name="Sign in at").click()
    page.wait_for_url("**/console/project")
    assert any(url.startswith(f"{issuer.url}/authorize?") for url in asked)
    top = page.locator("header").inner_text()
    assert "vision" in top
    assert "ada" in top
    assert page.get_by_role("link", name="New job").is_visible()
    assert page.get_by_role("link", name="Webhooks").count() == 0  # for admins
    assert barriers(page) == []
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    page.goto("/console/jobs")
    page.wait_for_url("**/console/sign-in?next=*")
    assert page.context.cookies() == []
    assert wrong == []


def test_who_has_no_project_is_told_and_may_try_again(window, person):
    page = window("narrow", "dark")
    person(project="none")
    page.goto("/console/sign-in")
    page.get_by_role("link", name="Sign in at").click()
    page.wait_for_selector("[role=alert]")
    assert "there is none" in page.get_by_role("alert").inner_text()
    assert barriers(page) == []
    keep(page, "sign-in-refused")
    person()
    page.get_by_role("link", name="Sign in at").click()
    page.wait_for_url("**/console/jobs")
    assert page.locator("h1").inner_text() == "Jobs"
