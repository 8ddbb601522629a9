"""Receivers of webhooks, good and bad, on 127.0.0.1."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Good(ThreadingHTTPServer):
    """Accepts everything; `arrived` is the time of each job's first message of each event."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Accept)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.arrived: dict[tuple[str, str], float] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _Accept(BaseHTTPRequestHandler):
    server: Good

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.arrived.setdefault((told["data"]["job_id"], told["type"]), time.time())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Manner = Callable[[socket.socket, threading.Event], None]


def drip(client: socket.socket, ended: threading.Event) -> None:
    """Send the answer's head byte by byte."""
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not ended.wait(0.5):
        client.sendall(b"z")


def drip_body(client: socket.socket, ended: threading.Event) -> None:
    """Send the answer's body byte by byte."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not ended.wait(0.5):
        client.sendall(b"z")


def interim(client: socket.socket, ended: threading.Event) -> None:
    """Send interim answers for ever."""
    while not ended.wait(0.5):
        client.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")


def silent(client: socket.socket, ended: threading.Event) -> None:
    """Read and say nothing."""
    ended.wait()


def flood(client: socket.socket, ended: threading.Event) -> None:
    """Send a head without an end."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while not ended.is_set():
        client.sendall(b"X-Long: " + b"z" * 8000 + b"\r\n")
        ended.wait(0.01)


def hang_up(client: socket.socket, ended: threading.Event) -> None:
    """Close without an answer."""


MANNERS: tuple[Manner, ...] = (drip, drip_body, interim, silent, flood, hang_up)


class Bad:
    """Accepts connections and misbehaves on each in the same manner."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up on everybody."""
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                serving = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(serving)
                serving.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(1 << 16)
            self._manner(client, self._ended)
