"""A receiver of webhooks on this machine, and one round of deliveries to it."""

import asyncio
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import func, update

from app.db import tables
from app.services.webhooks.delivery import Deliverer
from app.settings.maintenance import Webhooks
from app.webhooks.guard import LOOPBACK
from app.webhooks.sender import Sender


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((body, dict(self.headers.items())))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received, server.answers = [], []
    server.url = f"http://localhost:{server.server_port}/hook?a=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def deliver(engine):
    """One round of deliveries, to its end; returns how many attempts were made."""

    def deliver(networks=LOOPBACK, deadline=15, **options):
        async def rounds():
            async with Sender(networks, deadline) as sender:
                deliverer = Deliverer(engine, sender, **options)
                begun = await deliverer.begin_due()
                if deliverer.busy:
                    await asyncio.wait(deliverer.busy)
                return begun

        return asyncio.run(rounds())

    return deliver


@pytest.fixture
def settings(settings):
    """Loopback is this test's public network."""
    return settings.model_copy(update={"webhooks": Webhooks(allow_loopback=True, max_endpoints=12)})


@pytest.fixture
def webhook(client, receiver):
    return client.post("/v1/webhooks", json={"url": receiver.url}).json()


@pytest.fixture
def make_due(engine):
    def now():
        with engine.begin() as connection:
            connection.execute(update(tables.deliveries).values(next_at=func.now()))

    return now


class Dripping(BaseHTTPRequestHandler):
    """Takes a message, and answers one byte of an endless head at a time."""

    def do_POST(self):
        self.server.reached.set()
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.ended.wait(0.02):
                self.wfile.write(b"x")
                self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def dripping():
    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        server.ended, server.reached = threading.Event(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/hook"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()
