"""Which service to talk to and with which key; the names are those of the `secateur` command."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from secateur_client.errors import SecateurError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


def service_url(url: str | None = None) -> str:
    """The address given, or SECATEUR_URL, or that of `secateur up` on this machine.

    With or without the `/v1` of its API.

    Raises:
        SecateurError: it is no http or https address.
    """
    found = url or os.environ.get("SECATEUR_URL") or _local_url()
    if not found.startswith(("http://", "https://")):
        hint = f"the address of a service begins with http:// or https://, and {found!r} does not"
        raise SecateurError("url_invalid", hint)
    return found.rstrip("/").removesuffix("/v1")


def api_key(url: str, key: str | None = None) -> str | None:
    """The key given, or SECATEUR_KEY, or the one `secateur up` keeps, for its own address alone.

    Args:
        url: of the service, from `service_url`.
        key: to it.

    Raises:
        SecateurError: no header can carry it.
    """
    found = key or os.environ.get("SECATEUR_KEY") or _key_kept_for(url)
    if found and not (found.isascii() and found.isprintable() and " " not in found):
        hint = "an API key has letters, digits and signs of ASCII alone; copy it again"
        raise SecateurError("api_key_invalid", hint)
    return found


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
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return parts.scheme, host, parts.port or 80


def _local_url() -> str:
    placed = {"SECATEUR_API__HOST", "SECATEUR_API__PORT"} & os.environ.keys()
    if not placed and (kept := _kept("url")):
        return kept
    host = os.environ.get("SECATEUR_API__HOST", "127.0.0.1")
    host = _EVERYWHERE.get(host, host)
    port = os.environ.get("SECATEUR_API__PORT", "8321")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _kept(name: str) -> str | None:
    """What `secateur up` keeps in a file of its data directory."""
    kept = Path(os.environ.get("SECATEUR_DATA_DIR", ".secateur")).expanduser() / name
    try:
        return kept.read_text().strip() or None
    except OSError:
        return None


def cache_directory() -> Path:
    """Where `Job.download` puts files when no directory is given."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secateur"
