"""Which service to talk to and with which key; the names are those of the `secateur` command."""

import os
from pathlib import Path

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


def service_url(url: str | None = None) -> str:
    """The address given, or SECATEUR_URL, or that of `secateur up` on this machine."""
    if found := url or os.environ.get("SECATEUR_URL"):
        return found
    host = os.environ.get("SECATEUR_API__HOST", "127.0.0.1")
    host = _EVERYWHERE.get(host, host)
    port = os.environ.get("SECATEUR_API__PORT", "8321")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def api_key(key: str | None = None) -> str | None:
    """The key given, or SECATEUR_KEY, or the one `secateur up` keeps in its data directory."""
    if found := key or os.environ.get("SECATEUR_KEY"):
        return found
    kept = Path(os.environ.get("SECATEUR_DATA_DIR", ".secateur")).expanduser() / "key"
    try:
        return kept.read_text().strip() or None
    except OSError:
        return None


def cache_directory() -> Path:
    """Where `Job.download` puts files when no directory is given."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secateur"
