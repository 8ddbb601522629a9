"""The client finds the service as the command line does."""

import pytest

from app.cli.service import service
from secateur_client import SecateurError
from secateur_client.configuration import api_key, service_url

ENVIRONMENTS = [
    {},
    {"SECATEUR_URL": "https://prune.example.com", "SECATEUR_KEY": "sct_1"},
    {"SECATEUR_API__HOST": "0.0.0.0", "SECATEUR_API__PORT": "9"},
    {"SECATEUR_API__HOST": "::1"},
    {"SECATEUR_URL": "http://localhost:4711/v1/"},
    {"SECATEUR_URL": "http://localhost:4712"},
    {"SECATEUR_URL": "https://prune.example.com"},
    {"SECATEUR_URL": "http://[half"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_it_is_the_service_of_the_command_line(environment, monkeypatch, tmp_path):
    for name in ("SECATEUR_URL", "SECATEUR_KEY", "SECATEUR_API__HOST", "SECATEUR_API__PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    (tmp_path / "key").write_text("sct_kept\n")
    (tmp_path / "url").write_text("http://127.0.0.1:4711\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (service_url(), api_key(service_url())) == tuple(service())
    assert (service_url("http://a"), api_key("http://a", "b")) == tuple(service("http://a", "b"))


def test_the_key_that_is_kept_goes_to_its_own_service_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    (tmp_path / "key").write_text("sct_kept\n")
    (tmp_path / "url").write_text("http://127.0.0.1:4711\n")
    assert api_key("http://localhost:4711") == "sct_kept"
    assert api_key("http://prune.example:4711") is None


def test_an_address_that_is_none_is_refused_before_anything_is_sent():
    with pytest.raises(SecateurError, match="http://") as refused:
        service_url("127.0.0.1:8321")
    assert refused.value.code == "url_invalid"


@pytest.mark.parametrize("key", ["ключ", "sct_a\nb", "Bearer sct_a"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(SecateurError) as refused:
        api_key("http://a", key)
    assert refused.value.code == "api_key_invalid"
    assert key not in str(refused.value)
