"""A client finds the service where the settings put it, without reading the settings."""

from typing import get_args

import pytest

from app.cli import service as cli
from app.domain import projects
from app.settings import Settings


def test_the_defaults_are_those_of_the_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    settings = Settings()
    assert cli._local_url() == settings.api.url
    assert (settings.api.host, settings.api.port) == (cli.HOST, cli.PORT)
    assert Settings.model_fields["data_dir"].default.as_posix() == cli.DATA_DIR
    assert cli.DEFAULT_PROJECT == projects.DEFAULT_PROJECT
    assert set(get_args(cli.Scope)) == set(projects.Scope)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "10.1.2.3", "service.example"])
def test_host_and_port_of_the_environment_are_read_as_the_settings_read_them(monkeypatch, host):
    monkeypatch.setenv("SECATEUR_API__HOST", host)
    monkeypatch.setenv("SECATEUR_API__PORT", "9000")
    assert cli.service().url == Settings().api.url


def test_what_is_given_comes_before_the_environment_and_that_before_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    assert cli.service().key is None
    (tmp_path / "key").write_text("sct_kept\n")
    (tmp_path / "url").write_text("http://127.0.0.1:4711\n")
    assert cli.service() == ("http://127.0.0.1:4711", "sct_kept")
    monkeypatch.setenv("SECATEUR_API__PORT", "9000")
    assert cli.service().url == "http://127.0.0.1:9000"
    monkeypatch.setenv("SECATEUR_KEY", "sct_named")
    monkeypatch.setenv("SECATEUR_URL", "http://named")
    assert cli.service() == ("http://named", "sct_named")
    assert cli.service("http://given", "sct_given") == ("http://given", "sct_given")


@pytest.mark.parametrize("address", ["http://127.0.0.1:4711/", "http://localhost:4711/v1"])
def test_the_key_that_is_kept_goes_to_its_own_service(kept, address):
    assert cli.service(address).key == "sct_kept"


ELSEWHERE = {
    "host": "http://prune.example:4711",
    "port": "http://127.0.0.1:4712",
    "scheme": "https://127.0.0.1:4711",
    "looks alike": "http://127.0.0.1:4711@prune.example",
    "no address": "http://[half",
    "no port": "http://127.0.0.1:port",
}


@pytest.mark.parametrize("address", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_key_that_is_kept_goes_nowhere_else(kept, monkeypatch, address):
    monkeypatch.setenv("SECATEUR_URL", address)
    assert cli.service() == (address, None)
    assert cli.service(key="sct_given").key == "sct_given"


def test_a_host_of_the_settings_does_not_get_the_key_of_what_runs(kept, monkeypatch):
    monkeypatch.setenv("SECATEUR_API__HOST", "prune.example")
    assert cli.service() == ("http://prune.example:8321", None)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_as_the_api_does(end):
    assert cli.service(f"http://prune.example/below{end}").url == "http://prune.example/below"


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """What `secateur up` keeps while it runs."""
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    (tmp_path / "key").write_text("sct_kept\n")
    (tmp_path / "url").write_text("http://127.0.0.1:4711\n")
