"""One message to a receiver on this machine: what it is sent, and what is made of its answer."""

import asyncio
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from standardwebhooks.webhooks import Webhook

from app.domain.webhooks import Dispatch, Receipt
from app.urls import parse_url
from app.webhooks import sender as sending
from app.webhooks.guard import LOOPBACK
from app.webhooks.sender import MAX_ERROR, Sender, new_secret

HERE, CLOSED = ip_address("127.0.0.1"), ip_address("127.0.0.9")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers with the status that the path names, or not at all."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers.items()), body))
        self.server.ports.append(self.client_address[1])
        if self.path == "/never":
            self.server.ended.wait(20)
            return
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/204")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.daemon_threads = True
        server.received, server.ports, server.ended = [], [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture
def send(receiver):
    secret = new_secret()

    def send(path="/204", *, url=None, addresses=None, networks=LOOPBACK, deadline=10, messages=1):
        async def attempt():
            target = url or f"http://localhost:{receiver.server_port}{path}"
            dispatch = Dispatch("msg_1", "whk_1", 0, target, {"type": "job.failed"}, (secret,))
            async with Sender(networks, deadline) as sender:
                found = sender.look_up(target)
                if addresses is not None:
                    with suppress(Exception):
                        await found
                    found = asyncio.get_running_loop().create_future()
                    found.set_result(addresses)
                for _ in range(messages):
                    receipt = await sender.send(dispatch, found)
                return receipt

        return asyncio.run(attempt())

    send.secret = secret
    return send


def test_the_receiver_is_sent_a_signed_message_in_json(send, receiver):
    assert send() == Receipt(204)
    [(path, headers, body)] = receiver.received
    assert path == "/204"
    assert headers["Host"] == f"localhost:{receiver.server_port}"
    assert headers["Content-Type"] == "application/json"
    assert body == b'{"type":"job.failed"}'
    assert Webhook(send.secret).verify(body, headers) == json.loads(body)


@pytest.mark.parametrize("status", [302, 307, 410, 500])
def test_the_first_answer_is_what_came_of_it(send, receiver, status):
    assert send(f"/{status}") == Receipt(status)
    assert len(receiver.received) == 1


def test_a_receiver_that_never_answers_is_given_up_in_time(send):
    assert send("/never", deadline=0.3) == Receipt(None, "no whole answer within 0.3 s")


def test_an_environment_s_proxy_is_not_asked(send, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.9:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert send() == Receipt(204)


def test_addresses_of_a_name_are_tried_in_turn(send, receiver):
    assert send(addresses=[CLOSED, HERE]) == Receipt(204)
    assert send(addresses=[CLOSED, CLOSED, HERE]) == Receipt(204)
    refused = send(addresses=[CLOSED, CLOSED, CLOSED, HERE])
    assert refused.status is None
    assert "ConnectError" in refused.error
    assert len(receiver.received) == 2


def test_no_connection_is_kept_for_the_next_message(send, receiver, monkeypatch):
    """It may be for another host of the same address."""
    monkeypatch.setattr(Receiver, "protocol_version", "HTTP/1.1")  # keeps them, if asked to
    assert send(messages=2) == Receipt(204)
    assert len(receiver.ports) == len(set(receiver.ports)) == 2


def test_where_no_message_may_go_none_does(send, receiver):
    assert "127.0.0.1" in send(networks=()).error
    assert receiver.received == []


@pytest.mark.parametrize("url", ["ftp://localhost/x", "http://", "http://a b/"])
def test_what_is_no_address_is_said_to_be(send, url):
    found = send(url=url)
    assert found.status is None
    assert found.error


def test_a_name_that_nobody_has_is_said_to_be(send):
    found = send(url="http://no-such-host.invalid/")
    assert found.status is None
    assert len(found.error) <= MAX_ERROR


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a.example/x", "a.example"),
        ("https://a.example/x", "a.example"),
        ("http://a.example:443/x", "a.example:443"),
        ("https://a.example:80/x", "a.example:80"),
        ("https://a.example:8443/x", "a.example:8443"),
        ("http://[::1]/x", "[::1]"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ],
)
def test_the_host_is_told_with_a_port_that_is_not_usual(url, authority):
    assert sending._authority(parse_url(url)) == authority
