"""The API with an issuer of tokens."""

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.oidc import issuer as module
from app.services.projects import service as projects
from app.settings.oidc import Oidc
from tests.integration.oidc_issuer import AUDIENCE


@pytest.fixture
def oidc(issuer):
    """Settings; the project is named by the token itself."""
    return Oidc(issuer=issuer.url, audience=AUDIENCE)


@pytest.fixture
def token_settings(settings, oidc):
    return settings.model_copy(update={"oidc": oidc})


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def vision(engine):
    with engine.begin() as connection:
        return projects.create(connection, "vision")


@pytest.fixture
def api(token_settings, vision):
    here = ("127.0.0.1", 50000)
    with TestClient(
        create_app(token_settings), raise_server_exceptions=False, client=here
    ) as client:
        yield client


@pytest.fixture
def ask(api):
    """Ask for something with a token."""

    def send(token, path="/v1/project", method="GET", **options):
        return api.request(method, path, headers={"Authorization": f"Bearer {token}"}, **options)

    return send


@pytest.fixture
def token(issuer):
    """A token of somebody in the project, with other claims."""

    def make(header=None, **claims):
        usual = {"project": "vision", "scope": "openid secateur:submit"}
        return issuer.token(header, **usual | claims)

    return make
