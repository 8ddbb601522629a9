"""Clients that send or read slowly, or not at all, cost the others nothing."""

import json
import socket
import time
from contextlib import ExitStack, suppress

from tests.chaos.ledger import KINDS

MANY = 100  # connections of each manner
PATIENCE = 10.0  # seconds for an answer to a client that behaves


def connect(world, stack, first):
    """A connection on which this much was sent."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", world.settings.api.port)))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with suppress(OSError):  # hung up on: the service has had enough of us
        client.sendall(first)
    return client


def request(world, method, path, *headers):
    head = [f"{method} {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {world.root.key}"]
    return "\r\n".join([*head, *headers]).encode()


def manners(world, done):
    """Slow heads, slow bodies with and without a key, readers that read nothing."""
    body = json.dumps(KINDS["quick"]).encode()
    length = f"Content-Length: {len(body) + 1000}"
    job, end = f"/v1/jobs/{done}", b"\r\n\r\n"
    return [
        request(world, "POST", "/v1/jobs", length),
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n" + length.encode() + end + body,
        request(world, "POST", "/v1/jobs", length) + end + body,
        request(world, "POST", "/v1/datasets", "Content-Length: 1000000") + end + b"{",
        request(world, "GET", f"{job}/events", "Accept: text/event-stream") + end,
        request(world, "GET", f"{job}/artifacts/model.safetensors") + end,
        request(world, "GET", f"{job}/packed") + end,
        request(world, "GET", f"{job}?wait=60") + end,
    ]


def test_slow_clients_hold_up_nobody(world, ledger, turns):
    done = ledger.submit("deep")
    ledger.finish(done)
    for first in turns(manners(world, done), each=4):
        with ExitStack() as stack:
            clients = [connect(world, stack, first) for _ in range(MANY)]
            for _ in range(3):
                for client in clients:
                    with suppress(OSError):
                        client.send(b"x")
                started = time.monotonic()
                assert world.root.get("/v1/jobs", limit=1)["jobs"]
                assert time.monotonic() - started < PATIENCE
    ledger.submit("quick")


def test_uploads_that_are_aborted_leave_nothing(world, ledger, rounds):
    for _ in range(rounds):
        with ExitStack() as stack:
            head = request(world, "POST", "/v1/datasets", "Content-Length: 10000000")
            for _ in range(20):
                connect(world, stack, head + b"\r\n\r\n" + b'{"text": "a"}\n' * 1000)
        ledger.submit("quick")
