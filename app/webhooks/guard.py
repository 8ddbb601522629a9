"""Keeps webhooks from reaching into our own network.

A name is resolved once, every address it has is looked at, and the connection goes to the address
that was looked at: a name that answers differently the second time gains nothing.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from app.domain.errors import WebhookAddressError

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int, *, allow_loopback: bool) -> Address:
    """An address of the host that may be connected to.

    Raises:
        WebhookAddressError: the name does not resolve, or one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookAddressError(f"{host!r} does not resolve: {error}") from error
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not is_allowed(address, allow_loopback=allow_loopback):
            raise WebhookAddressError(f"{host!r} resolves to {address}, which is not public")
    return addresses[0]


def is_allowed(address: Address, *, allow_loopback: bool) -> bool:
    """May webhooks go there? An IPv4 address inside an IPv6 one is what counts."""
    address = _inner(address)
    if address.is_loopback:
        return allow_loopback
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
