"""Which service a command talks to, and as whom: read from the environment alone.

The settings of the server take half a second to import, and a client needs none of the others.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import typer

DataDir = Annotated[
    Path | None, typer.Option(help="Directory of everything the service keeps.", show_default=False)
]

# Those of `app.settings` and `app.domain.projects`; a test holds them equal.
HOST, PORT, DATA_DIR = "127.0.0.1", 8321, ".secateur"
DEFAULT_PROJECT = "prj_default"
Scope = Literal["read", "submit", "admin"]
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


class Service(NamedTuple):
    """A service and the key to it; None where there is none."""

    url: str
    key: str | None


def service(url: str | None = None, key: str | None = None) -> Service:
    """The service at `url`, by default the one that `secateur up` runs on this machine.

    Args:
        url: base URL; None reads SECATEUR_URL, then SECATEUR_API__HOST and SECATEUR_API__PORT, then
            the file `url` of the data directory. With or without the `/v1` of its API.
        key: API key; None reads SECATEUR_KEY, then, for the service whose key it is, the file `key`
            of the data directory.
    """
    found = url or os.environ.get("SECATEUR_URL") or _local_url()
    address = found.rstrip("/").removesuffix("/v1")
    return Service(address, key or os.environ.get("SECATEUR_KEY") or _key_kept_for(address))


def _key_kept_for(url: str) -> str | None:
    """The key that `secateur up` keeps, where the address is its own: no other host gets it."""
    try:
        own = _origin(url) == _origin(_kept("url") or _local_url())
    except ValueError:  # it is no address, which is told when a request is sent
        return None
    return _kept("key") if own else None


def _origin(url: str) -> tuple[str, str | None, int]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    host = HOST if parts.hostname == "localhost" else parts.hostname
    return parts.scheme, host, parts.port or 80


def _local_url() -> str:
    placed = {"SECATEUR_API__HOST", "SECATEUR_API__PORT"} & os.environ.keys()
    if not placed and (kept := _kept("url")):
        return kept
    host = os.environ.get("SECATEUR_API__HOST", HOST)
    host = _EVERYWHERE.get(host, host)
    port = os.environ.get("SECATEUR_API__PORT", str(PORT))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _kept(name: str) -> str | None:
    """What `secateur up` keeps in a file of the data directory."""
    kept = Path(os.environ.get("SECATEUR_DATA_DIR", DATA_DIR)).expanduser() / name
    try:
        return kept.read_text().strip() or None
    except OSError:
        return None
