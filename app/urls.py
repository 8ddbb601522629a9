"""URLs that people give us, read strictly: whatever is accepted here, every client reads alike.

The grammar is RFC 3986's without its rarities. Hosts are DNS names in ASCII, IPv4 addresses of four
decimal numbers, or IPv6 addresses in brackets; forms that only some resolvers know (`127.1`,
`0x7f000001`, `017700000001`) are refused, and so are names that other software would map to them.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator

MAX_LENGTH = 2000
_MAX_HOST, _MAX_PORT = 253, 65535

_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?P<colon>:(?P<port>[0-9]{0,5}))?")
_PLAIN = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=#-]|%[0-9A-Fa-f]{2}")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_THIS_MACHINE = {"127.0.0.1", "::1", "localhost"}
# A host whose last label looks like a number is an IPv4 address to resolvers and browsers.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """A URL that was accepted.

    Attributes:
        scheme: `http` or `https`.
        host: in lower case, an IPv6 address without its brackets.
        port: given, or the scheme's.
    """

    scheme: str
    host: str
    port: int


def parse_url(text: str) -> HttpUrl:
    """Read an absolute `http` or `https` URL without user, password and fragment.

    Raises:
        ValueError: what is wrong with it, without quoting it.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a URL has at most {MAX_LENGTH} characters")
    if rest := _PLAIN.sub("", text):
        raise ValueError(
            f"a URL cannot have the character {rest[0]!a}; percent-encode it, and write the "
            "host in its ASCII form (xn--...)"
        )
    parts = _PARTS.fullmatch(text)
    if parts is None or parts["scheme"].lower() not in {"http", "https"}:
        raise ValueError("a URL begins with http://host or https://host")
    if parts["fragment"] is not None:
        raise ValueError("the URL has no #fragment")
    if "@" in parts["authority"]:
        raise ValueError("the URL has no user and password")
    if {"[", "]"} & set(parts["path"] + (parts["query"] or "")):
        raise ValueError("a URL has [ and ] around an IPv6 address only; percent-encode them")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise ValueError("what follows // is not host or host:port")
    scheme, port = parts["scheme"].lower(), 443 if parts["scheme"].lower() == "https" else 80
    if authority["colon"]:
        port = int(authority["port"] or 0)
        if not 0 < port <= _MAX_PORT:
            raise ValueError(f"a port is a number from 1 to {_MAX_PORT}")
    return HttpUrl(scheme, _host(authority["host"]), port)


def is_private(text: str) -> bool:
    """Can nobody on the way read what goes to this URL: is it https, or of this machine?

    Raises:
        ValueError: as for `parse_url`.
    """
    url = parse_url(text)
    return url.scheme == "https" or url.host in _THIS_MACHINE


def _host(text: str) -> str:
    if "%" in text:
        raise ValueError("the host has no percent-encoding, and an address no zone")
    if text.startswith("["):
        try:
            return IPv6Address(text[1:-1]).compressed
        except ValueError:
            raise ValueError("what is in brackets is no IPv6 address") from None
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(text).compressed
        except ValueError:
            raise ValueError(
                "an IPv4 address is four decimal numbers without zeros before them"
            ) from None
    if len(text) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host is no DNS name: letters, digits and hyphens between dots")
    return text.lower()


def _checked(text: str) -> str:
    parse_url(text)
    return text


# For fields of settings and requests: the text as given, once it has been read.
UrlText = Annotated[str, AfterValidator(_checked)]
UrlTextOrNone = Annotated[str, AfterValidator(lambda text: text and _checked(text))]
