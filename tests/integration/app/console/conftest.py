"""Browsers without a window or scripts: they keep cookies and send the forms of a page."""

import re

import pytest

from app.services.projects.service import create, issue_key
from tests.browser import browser

SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
CSRF = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')


class Browser:
    """What somebody does with pages."""

    def __init__(self, client):
        self.client = client

    def get(self, address, status=200, **headers):
        answer = self.client.get(address, follow_redirects=False, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    def post(self, address, fields=(), status=303, **headers):
        answer = self.client.post(
            address, data=dict(fields), follow_redirects=False, headers=headers
        )
        assert answer.status_code == status, answer.text
        return answer

    def sign_in(self, secret):
        self.post("/console/sign-in", {"key": secret})
        self.token = CSRF.search(self.get("/console/jobs").text)[1]
        return self

    def send(self, address, fields=(), status=303, **headers):
        return self.post(address, {"csrf_token": self.token, **dict(fields)}, status, **headers)


@pytest.fixture
def stranger(anonymous):
    return Browser(anonymous)


@pytest.fixture
def secret(engine):
    with engine.begin() as connection:
        return issue_key(connection, "browser")


@pytest.fixture
def person(stranger, secret):
    """Somebody with an admin key of the first project."""
    return stranger.sign_in(secret[1])


@pytest.fixture
def key_of(engine):
    """Make a key: of the first project, or of another."""

    def make(scope, project=None):
        with engine.begin() as connection:
            owner = {"project_id": create(connection, project).id} if project else {}
            return issue_key(connection, "k", scope=scope, **owner)[1]

    return make


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def window(chromium, serving):
    """Open a window of a size and a colour scheme."""
    opened = []

    def make(size="wide", scheme="light"):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, base_url=serving
        )
        context.set_default_timeout(60_000)  # milliseconds
        opened.append(context)
        return context.new_page()

    yield make
    for context in opened:
        context.close()
