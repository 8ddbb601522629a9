"""The compose file and the Dockerfile say nothing that the code does not know."""

import importlib.util
import json
import re
import subprocess
from urllib.parse import urlsplit

import pytest
import typer

from app.cli.main import app as command_line
from app.main import create_app
from app.settings import Settings
from tests.unit.deploy.manifests import ROOT, compose, dockerfile, variables

OURS = {"migrate": "api", "api": "api", "maintenance": "api", "worker": "worker"}
IMAGES = ("api", "worker", "worker-cuda")
# Read by libraries; Compose hands those on that the caller has set.
SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}


def environment(service):
    """What a container of a service has where the caller has set nothing."""
    named = compose()["services"][service]["environment"]
    return variables(OURS[service]) | {k: v for k, v in named.items() if v is not None}


@pytest.fixture
def settings_of(monkeypatch):
    """The settings that processes with these variables run with."""

    def settings(values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return settings


def command(service):
    stage = dockerfile()[OURS[service]]
    own = next(json.loads(value) for name, value in reversed(stage) if name == "CMD")
    return compose()["services"][service].get("command", own)


def exists(argv):
    """Whether the code has what a container is to run."""
    match argv:
        case ["python", "-m", module] | ["celery", "-A", module, "worker", *_]:
            return importlib.util.find_spec(module) is not None
        case ["secateur", name]:
            return name in typer.main.get_command(command_line).commands
    return False


@pytest.mark.parametrize("service", OURS)
def test_every_service_runs_what_exists(service):
    assert exists(command(service))


@pytest.mark.parametrize("service", OURS)
def test_settings_are_known_and_accepted(service, settings_of):
    values = environment(service)
    known = Settings().environment()
    assert {name for name in values if name.startswith("SECATEUR_")} <= set(known)
    assert not SECRETS & set(values)
    settings = settings_of(values)
    found = [urlsplit(url) for url in (settings.database.url, settings.queue.url)]
    assert [url.hostname for url in found] == ["postgres", "valkey"]
    assert [url.password for url in found] == ["given", "given"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_sets_what_is_known(image):
    ours = {name for name in variables(image) if name.startswith("SECATEUR_")}
    assert ours
    assert ours <= set(Settings().environment())


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_asked_after_its_health_where_it_answers(image, settings_of):
    settings = settings_of(variables(image))
    instructions = dict(dockerfile()[image])
    port, path = re.search(r"127\.0\.0\.1:(\d+)(/\w*)", instructions["HEALTHCHECK"]).groups()
    if image == "api":
        assert int(port) == settings.api.port
        assert path in create_app(settings).openapi()["paths"]
    else:
        assert int(port) == settings.telemetry.metrics_port
    assert instructions["EXPOSE"] == port


def test_maintenance_is_asked_after_its_health_where_it_answers(settings_of):
    test = " ".join(compose()["services"]["maintenance"]["healthcheck"]["test"])
    port = re.search(r"127\.0\.0\.1:(\d+)/", test)[1]
    assert int(port) == settings_of(environment("maintenance")).telemetry.metrics_port


def test_the_published_port_is_the_one_of_the_api(settings_of):
    [port] = compose()["services"]["api"]["ports"]
    assert port.split(":")[-1] == str(settings_of(environment("api")).api.port)


@pytest.mark.parametrize("service", ["api", "maintenance", "worker"])
def test_nobody_is_killed_while_it_drains(service, settings_of):
    settings = settings_of(environment(service))
    grace = int(compose()["services"][service]["stop_grace_period"].removesuffix("s"))
    assert grace > max(settings.api.drain_seconds, settings.worker.drain_seconds)


@pytest.mark.parametrize(("section", "service"), [("OIDC", "api"), ("LINEAGE", "maintenance")])
def test_a_section_is_handed_on_whole_to_those_that_read_it(section, service):
    named = {name for name in Settings().environment() if name.startswith(f"SECATEUR_{section}__")}
    for each in OURS:
        handed_on = named & compose()["services"][each]["environment"].keys()
        assert handed_on == (named if each == service else set())


def test_what_is_needed_is_defined():
    whole = compose()
    services, volumes = whole["services"], set(whole["volumes"])
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        for volume in service.get("volumes", ()):
            source, *target = volume.split(":")
            assert source in volumes or source.startswith("./") or not target, (name, volume)
        for target in {service.get("build", {}).get("target")} - {None}:
            assert target in dockerfile()


@pytest.mark.parametrize("service", OURS)
def test_our_containers_write_nothing_but_data(service):
    ours = compose()["services"][service]
    assert ours["read_only"]
    assert ours["cap_drop"] == ["ALL"]
    # Whole models pass through it: it is no memory.
    assert "tmpfs" not in ours
    assert "/tmp" in ours["volumes"]
    instructions = dict(dockerfile()[OURS[service]])
    assert instructions["USER"] == "10001:10001"
    assert instructions["VOLUME"] == variables(OURS[service])["SECATEUR_DATA_DIR"] == "/data"
    assert "data:/data" in ours["volumes"]


def test_the_image_of_the_api_has_no_workers():
    built = " ".join(value for name, value in dockerfile()["api-builder"] if name == "COPY")
    assert "workers" not in built
    assert "torch" not in str(dockerfile()["api-builder"])


def test_no_password_has_a_default():
    text = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*):", text))
    assert named == {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_SECRET", "AWS_SECRET_ACCESS_KEY"}
    assert not re.search(r"\$\{\w*(?:PASSWORD|SECRET)\w*:-(?!\$\{S3_SECRET:\?)", text)


def test_passwords_are_made_once(tmp_path):
    script = tmp_path / "deploy/make-env"
    script.parent.mkdir()
    script.write_bytes((ROOT / "deploy/make-env").read_bytes())
    script.chmod(0o755)
    subprocess.run([script], check=True, capture_output=True)
    file = tmp_path / ".env"
    made = dict(line.split("=") for line in file.read_text().splitlines())
    assert set(made) == {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_SECRET"}
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in made.values())
    assert len(set(made.values())) == 3
    assert file.stat().st_mode & 0o777 == 0o600
    again = subprocess.run([script], check=False, capture_output=True)
    assert again.returncode == 1
    assert dict(line.split("=") for line in file.read_text().splitlines()) == made


def test_valkey_asks_for_the_password_that_the_others_send():
    whole = compose()
    valkey = whole["services"]["valkey"]
    [config] = valkey["configs"]
    assert config["target"] in valkey["command"]
    assert "requirepass given\n" in whole["configs"][config["source"]]["content"]
    assert valkey["environment"] == {"REDISCLI_AUTH": "given"}


def test_only_the_proxy_is_reached_from_elsewhere():
    for name, service in compose()["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:") or name == "proxy"
