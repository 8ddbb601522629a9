"""Settings: where they come from, what they refuse, and that each says what it is for."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from app.domain.projects import Scope
from app.settings import Settings
from app.settings.api import Api
from app.settings.oidc import Oidc
from app.settings.shared import Models


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("SECATEUR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nested_variables_reach_their_subsystem(monkeypatch):
    monkeypatch.setenv("SECATEUR_WORKER__LEASE_SECONDS", "60")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", "postgresql+psycopg://u@h/d")
    settings = Settings()
    assert settings.worker.lease_seconds == 60
    assert settings.worker.heartbeat_seconds == 3
    assert settings.database.url == "postgresql+psycopg://u@h/d"


def test_only_a_url_given_by_the_user_counts_as_set(monkeypatch):
    assert "url" not in Settings().database.model_fields_set
    monkeypatch.setenv("SECATEUR_DATABASE__URL", "postgresql+psycopg://u@h/d")
    assert "url" in Settings().database.model_fields_set


def test_relative_paths_are_under_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_DATA_DIR", "data")
    monkeypatch.setenv("SECATEUR_STORAGE__DIR", "/elsewhere/artifacts")
    settings = Settings()
    assert settings.data_dir == tmp_path / "data"
    assert settings.models.roots == (tmp_path / "data" / "models",)
    assert settings.models.hub_cache == tmp_path / "data" / "hub"
    assert settings.storage.dir == Path("/elsewhere/artifacts")


def test_model_roots_are_separated_like_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_MODELS__ROOTS", f"/srv/models:{tmp_path}/more")
    assert Settings().models.roots == (Path("/srv/models"), tmp_path / "more")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECATEUR_DATABASE__URL", "sqlite:///jobs.db"),
        ("SECATEUR_QUEUE__URL", "memory://"),
        ("SECATEUR_WORKER__LEASE_SECOND", "60"),
        ("SECATEUR_WORKER__HEARTBEAT_SECONDS", "20"),
        ("SECATEUR_API__PORT", "70000"),
    ],
)
def test_what_cannot_work_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.rpartition("__")[2].lower()):
        Settings()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8321"),
        ("0.0.0.0", "http://127.0.0.1:8321"),
        ("::", "http://[::1]:8321"),
        ("pruner.example", "http://pruner.example:8321"),
    ],
)
def test_the_api_is_reached_where_it_listens(host, url):
    assert Api(host=host).url == url


def test_every_setting_says_what_it_is_for():
    def undescribed(model: type[BaseModel], path: str = "") -> list[str]:
        return [
            f"{path}{name}" for name, field in model.model_fields.items() if not field.description
        ] + [
            inner
            for name, field in model.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            for inner in undescribed(field.annotation, f"{path}{name}.")
        ]

    assert undescribed(Settings) == []


def test_an_issuer_of_tokens(monkeypatch):
    monkeypatch.setenv("SECATEUR_OIDC__ISSUER", "https://id.example/realms/lab")
    monkeypatch.setenv("SECATEUR_OIDC__AUDIENCE", "secateur")
    monkeypatch.setenv("SECATEUR_OIDC__CLIENTS", "ci, notebooks")
    monkeypatch.setenv("SECATEUR_OIDC__ALGORITHMS", "RS256,ES256")
    monkeypatch.setenv("SECATEUR_OIDC__PROJECTS", '{"/teams/vision": "vision"}')
    monkeypatch.setenv("SECATEUR_OIDC__SCOPES", '{"pruners": "submit"}')
    monkeypatch.setenv("SECATEUR_OIDC__CLIENT_ID", "console")
    monkeypatch.setenv("SECATEUR_OIDC__CLIENT_SECRET", "not to be seen")
    settings = Settings()
    assert settings.oidc.clients == ("ci", "notebooks")
    assert settings.oidc.accepted_clients == ("ci", "notebooks", "console")
    assert Oidc(clients=("ci",)).accepted_clients == ("ci",), "an empty name is no client"
    assert Oidc().accepted_clients == ()
    assert settings.oidc.algorithms == ("RS256", "ES256")
    assert settings.oidc.projects == {"/teams/vision": "vision"}
    assert settings.oidc.scopes == {"pruners": Scope.SUBMIT}
    assert "not to be seen" not in repr(settings)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    monkeypatch.setenv("SECATEUR_OIDC__ISSUER", "http://localhost:8080/realms/lab")
    assert Settings().oidc.issuer.startswith("http:")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISSUER", "http://id.example"),
        ("ISSUER", "https://id.example?realm=lab"),
        ("ISSUER", "https://id.example#x"),
        ("ISSUER", "https://a:b@id.example"),
        ("ISSUER", "id.example"),
        ("AUDIENCE", ""),
        ("SIGN_IN_SCOPE", "secateur:read"),
        ("SIGN_IN_SCOPE", "openid:x"),
        ("SESSION_SECONDS", "0"),
        ("ALGORITHMS", "RS256,HS256"),
        ("ALGORITHMS", "none"),
        ("ALGORITHMS", ","),
        ("SCOPES", "{}"),
        ("SCOPES", '{"pruners": "root"}'),
        ("LEEWAY_SECONDS", "3600"),
    ],
)
def test_an_issuer_that_would_not_be_safe_is_refused(monkeypatch, name, value):
    good = {"ISSUER": "https://id.example", "AUDIENCE": "secateur"}
    for variable, text in (good | {name: value}).items():
        monkeypatch.setenv(f"SECATEUR_OIDC__{variable}", text)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_a_client_of_no_issuer_is_refused(monkeypatch):
    monkeypatch.setenv("SECATEUR_OIDC__CLIENT_ID", "console")
    with pytest.raises(ValidationError, match="needs an issuer"):
        Settings()


def test_a_child_gets_the_same_settings_through_its_environment(monkeypatch, tmp_path):
    settings = Settings(
        data_dir=tmp_path / "data",
        models=Models(roots=(Path("/srv/a"), Path("/srv/b"))),
        api=Api(port=9000),
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
