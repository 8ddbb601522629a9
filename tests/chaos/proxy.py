"""A TCP proxy before a server, which cuts, stalls and refuses connections when told to."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero: close() sends RST, as a dead machine does
PIECE = 1 << 16

Dial = Callable[[], socket.socket]


def tcp(port: int) -> Dial:
    """Connects to a port of this machine."""
    return lambda: socket.create_connection(("127.0.0.1", port))


def unix(path: str) -> Dial:
    """Connects to a socket in the file system."""

    def dial() -> socket.socket:
        there = socket.socket(socket.AF_UNIX)
        try:
            there.connect(path)
        except OSError:
            there.close()
            raise
        return there

    return dial


@dataclass
class Wire:
    """Cuts one connection at its first `verb` after a message that names `subject`.

    Attributes:
        subject: what the client says first.
        verb: what it says then.
        delivered: whether the server still hears the verb; its answer is lost in any case.
    """

    subject: bytes
    verb: bytes
    delivered: bool
    cut: threading.Event = field(default_factory=threading.Event)


class _Link:
    """One connection: both ends, and how far the wire has been followed on it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.named: Wire | None = None

    def reset(self) -> None:
        """Close both ends with RST."""
        for end in (self.client, self.server):
            with suppress(OSError):  # of a peer that has hung up itself
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()


class Proxy:
    """Listens on 127.0.0.1; each connection has a thread that carries its bytes both ways.

    Args:
        dial: connects to the server behind.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._links: set[_Link] = set()
        self._lock = threading.RLock()
        self._open, self._flowing, self._ended = True, threading.Event(), threading.Event()
        self._flowing.set()
        self._wire: Wire | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        """Cut everything and listen no longer."""
        self._ended.set()
        self._flowing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Reset every connection; new ones are welcome. Returns how many there were."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.reset()
        self.cuts += len(links)
        return len(links)

    def refuse(self) -> None:
        """Reset every connection, the ones to come too."""
        self._open = False
        self.cut()

    def stall(self) -> None:
        """Keep connections open and carry nothing."""
        self._flowing.clear()

    def heal(self) -> None:
        """Be a plain proxy again."""
        self._open, self._wire = True, None
        self._flowing.set()

    def trip(self, wire: Wire) -> None:
        """Cut the next connection that the wire is about, once."""
        self._wire = wire

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                _Link(client, client).reset()
                continue
            try:
                server = self._dial()
            except OSError:
                _Link(client, client).reset()
                continue
            for end in (client, server):
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(client, server)
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._carry, args=(link,), daemon=True).start()

    def _carry(self, link: _Link) -> None:
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(link.client, selectors.EVENT_READ, link.server)
                ready.register(link.server, selectors.EVENT_READ, link.client)
                while all(self._pass(link, key.fileobj, key.data) for key, _ in ready.select(1)):
                    if self._ended.is_set() or link not in self._links:
                        return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._links.discard(link)
            link.reset()

    def _pass(self, link: _Link, source: socket.socket, sink: socket.socket) -> bool:
        """Carry one piece; False where the connection ends."""
        self._flowing.wait()
        piece = source.recv(PIECE)
        wire = self._tripped(link, piece) if source is link.client else None
        if wire is not None:
            if wire.delivered:
                sink.sendall(piece)
                link.server.recv(PIECE)  # it is done there, and the client never hears of it
            wire.cut.set()
            return False
        if piece:
            sink.sendall(piece)
        return bool(piece)

    def _tripped(self, link: _Link, piece: bytes) -> Wire | None:
        wire = self._wire
        if wire is None:
            return None
        if link.named is not wire:
            _, subject, piece = piece.partition(wire.subject)
            link.named = wire if subject else None
        if link.named is None or wire.verb not in piece:
            return None
        self._wire = None
        self.cuts += 1
        return wire
