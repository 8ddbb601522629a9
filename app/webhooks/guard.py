"""Keeps webhooks from reaching into our own network.

A name is resolved once, every address it has is looked at, and the connection goes to an address
that was looked at: a name that answers differently the second time gains nothing.
"""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from app.domain.webhooks import WebhookAddressError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

# IANA's special-purpose registries, multicast, what is reserved: no public server is there.
_NOT_PUBLIC_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
# Of IPv6, only this is given out; all else, from `::a.b.c.d` to `fec0::/10`, is something special.
_GIVEN_OUT = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarks, ORCHID and others of the IETF
        "2001:db8::/32",
        "2002::/16",  # 6to4: another network's IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
# Both are another way to write an IPv4 address.
_MAPPED, _NAT64 = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}


def is_allowed(address: Address, networks: Sequence[Network] = ()) -> bool:
    """May webhooks go there? An IPv4 address inside an IPv6 one is what counts.

    Args:
        address: where to.
        networks: what the operator allows beside public addresses.
    """
    if any(address in network for network in networks):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        return is_allowed(low, networks)
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP and not is_allowed(low, networks):
        return False
    return address in _GIVEN_OUT and not any(address in network for network in _NOT_PUBLIC_V6)


def resolve(host: str, port: int, networks: Sequence[Network] = ()) -> list[Address]:
    """The addresses of the host, all of which may be connected to.

    Raises:
        LookupError: the name does not resolve.
        WebhookAddressError: one of its addresses is not public and not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LookupError(f"{host!r} does not resolve: {error}") from error
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not is_allowed(address, networks):
            raise WebhookAddressError(
                f"{host!r} is at {address}, which is not public; the operator can allow its "
                "network in SECATEUR_WEBHOOKS__ALLOW_NETWORKS"
            )
    return addresses


def lookup(host: str, port: int, networks: Sequence[Network]) -> asyncio.Future[list[Address]]:
    """`resolve` in a thread of its own.

    The system's resolver cannot be interrupted: who stops waiting for it leaves the thread behind,
    and the future is done once the thread has ended.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Address]] = loop.create_future()

    def settle(addresses: list[Address], error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(addresses)
        else:
            future.set_exception(error)
            future.exception()  # whoever asked may not wait any more

    def run() -> None:
        addresses, failure = list[Address](), None
        try:
            addresses = resolve(host, port, networks)
        except Exception as error:  # noqa: BLE001  told to whoever waits
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, addresses, failure)

    threading.Thread(target=run, name="webhook lookup", daemon=True).start()
    return future


def refuse_known(host: str, port: int, networks: Sequence[Network], seconds: float) -> None:
    """Refuse a host that is known now to be out of reach for ever.

    A name that does not resolve, or not in time, may do so later: each delivery looks again.

    Raises:
        WebhookAddressError: one of its addresses is not public and not allowed.
    """
    refused = list[WebhookAddressError]()

    def ask() -> None:
        try:
            resolve(host, port, networks)
        except WebhookAddressError as error:
            refused.append(error)
        except LookupError:
            pass

    thread = threading.Thread(target=ask, name="webhook lookup", daemon=True)
    thread.start()
    thread.join(seconds)
    if refused:
        raise refused[0]
