"""`/docs` needs nothing but this service; from elsewhere it, and the metrics, want a key."""

import re
import time
from base64 import b64encode

import httpx2
import pytest
from starlette.testclient import TestClient

from app.local.valkey import free_port
from app.main import create_app


@pytest.fixture
def elsewhere(settings, client):
    """A client on another machine, without a key."""
    with TestClient(create_app(settings), client=("203.0.113.7", 50000)) as away:
        yield away


def test_the_start_says_where_to_go_on(anonymous):
    found = anonymous.get("/").json()
    assert found["service"] == "Secateur"
    for link in ("documentation", "openapi", "health"):
        assert anonymous.get(found[link]).status_code == 200


def test_the_page_needs_nothing_from_elsewhere(anonymous):
    answer = anonymous.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    named = re.findall(r'(?:src|href|data-document)="([^"]*)"', answer.text)
    own = [each for each in named if each != "data:,"]
    assert len(own) == 4
    for each in own:
        assert each.startswith("/")
        found = anonymous.get(each)
        assert found.status_code == 200
        assert len(found.content) > 100
    assert not re.search(r"<script[^>]*>[^<]", answer.text)
    assert "onload" not in answer.text


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("swagger-ui-bundle.js", "text/javascript", "SwaggerUIBundle"),
        ("swagger-ui.css", "text/css", ".swagger-ui"),
        ("start.js", "text/javascript", "SwaggerUIBundle({"),
    ],
)
def test_assets_are_what_they_are_called(anonymous, name, kind, text):
    answer = anonymous.get(f"/docs/{name}")
    assert answer.headers["Content-Type"].partition(";")[0] == kind
    assert text in answer.text


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2F__init__.py", "x"])
def test_nothing_else_is_given_away(anonymous, name):
    assert anonymous.get(f"/docs/{name}").status_code in {404, 422}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics"])
def test_elsewhere_a_key_is_asked_for(elsewhere, client, path):
    refused = elsewhere.get(path)
    assert refused.status_code == 401
    assert refused.json()["code"] == "api_key_missing"
    assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    key = client.headers["Authorization"].removeprefix("Bearer ")
    basic = b64encode(f"me:{key}".encode()).decode()
    for scheme, credentials in (("Bearer", key), ("Basic", basic)):
        head = {"Authorization": f"{scheme} {credentials}"}
        assert elsewhere.get(path, headers=head).status_code == 200
    for wrong in ("Bearer sct_x", "Basic ???", "Basic c2N0", "Digest x", "Bearer"):
        assert elsewhere.get(path, headers={"Authorization": wrong}).status_code == 401


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_whoever_comes_through_a_proxy_is_elsewhere(anonymous, name):
    assert anonymous.get("/metrics").status_code == 200
    assert anonymous.get("/metrics", headers={name: "127.0.0.1"}).status_code == 401


def test_metrics_are_for_the_first_project(elsewhere, client):
    made = client.post("/v1/projects", json={"name": "other"}).json()
    head = {"Authorization": f"Bearer {made['secret']}"}
    assert elsewhere.get("/docs", headers=head).status_code == 200
    assert elsewhere.get("/metrics", headers=head).status_code == 403


def test_health_is_for_everybody(elsewhere):
    assert elsewhere.get("/livez").status_code == 200
    assert elsewhere.get("/readyz").status_code == 200


def test_a_private_port_tells_the_same_without_a_key(settings):
    port = free_port()
    telemetry = settings.telemetry.model_copy(update={"metrics_port": port})
    with TestClient(create_app(settings.model_copy(update={"telemetry": telemetry}))):
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert 'secateur_ready{dependency="database"} 1.0' in text
    assert "secateur_http_requests_total" in text
    time.sleep(0.1)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_the_document_is_written_once(anonymous, monkeypatch):
    first = anonymous.get("/openapi.json")
    assert first.headers["content-type"] == "application/json"
    monkeypatch.setattr(anonymous.app, "openapi", None)
    assert anonymous.get("/openapi.json").json() == first.json()
