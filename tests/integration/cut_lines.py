"""A PostgreSQL whose connections can be cut at the worst moments."""

import contextlib
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Lines:
    """Carries bytes between clients and the server.

    Attributes:
        url: of the same database, through here.
        cuts: what happens to the next COMMITs, in order: `before` the server hears of it, or
            `after` it has done it and before the client does; anything else lets it through.
        commits: how many there were.
    """

    def __init__(self, directory, url):
        parts = make_url(url)
        self._server = str(Path(parts.query["host"]) / ".s.PGSQL.5432")
        self.url = parts.update_query_dict({"host": directory}).render_as_string()
        self.cuts = []
        self.commits = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(directory) / ".s.PGSQL.5432"))
        self._listener.listen()
        self._pairs = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._pairs.append(_Pair(self, client, server))


class _Pair:
    def __init__(self, lines, client, server):
        self._lines, self._client, self._server = lines, client, server
        self._deaf = False
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._up, self._down)
        ]
        for thread in self._threads:
            thread.start()

    def close(self):
        self._cut()
        for thread in self._threads:
            thread.join()
        for end in (self._client, self._server):
            end.close()

    def _up(self):
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 16):
                if _COMMIT in data:
                    self._lines.commits += 1
                    cut = self._lines.cuts.pop(0) if self._lines.cuts else ""
                    if cut == "before":
                        break
                    self._deaf = cut == "after"
                self._server.sendall(data)
        self._cut()

    def _down(self):
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 16):
                if self._deaf:  # it has answered, so it has done it
                    break
                self._client.sendall(data)
        self._cut()

    def _cut(self):
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_lines(url):
    with TemporaryDirectory(prefix="secateur-lines-") as directory:
        lines = Lines(directory, url)
        try:
            yield lines
        finally:
            lines.close()
