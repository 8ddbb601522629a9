import asyncio
import gc
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import WebhookAddressError
from app.webhooks.guard import LOOPBACK, is_allowed, lookup, refuse_known, resolve

REFUSED = [
    "10.0.0.1",
    "172.16.5.4",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "192.0.0.8",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::2",
    "::8.8.8.8",
    "::10.0.0.1",
    "::ffff:0:8.8.8.8",
    "::ffff:0:10.0.0.1",
    "::fffe:8.8.8.8",
    "fe80::1",
    "fec0::1",
    "feff::1",
    "fc00::1",
    "fdff:ec2::254",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "5f00::1",
    "::ffff:10.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::127.0.0.2",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1::a00:1",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "64:ff9b:2::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:a00:1::",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "8000::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:192.168.0.1",
]
LOOPBACKS = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.parametrize("networks", [(), LOOPBACK])
def test_what_is_not_public_is_refused(address, networks):
    if address == "64:ff9b::127.0.0.2" and networks:
        return  # loopback, written another way
    assert not is_allowed(ip_address(address), networks)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_loopback_needs_the_setting(address):
    assert not is_allowed(ip_address(address))
    assert is_allowed(ip_address(address), LOOPBACK)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2003::1",
        "3ffe::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700::5efe:8.8.8.8",
    ],
)
def test_public_addresses_are_fine(address):
    assert is_allowed(ip_address(address))


def test_the_operators_networks_open_what_they_name_and_nothing_else():
    networks = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::9"):
        assert is_allowed(ip_address(address), networks), address
    for address in ("10.2.0.1", "::10.1.2.3", "fd00:2::1", "::ffff:0:10.1.2.3", "127.0.0.1"):
        assert not is_allowed(ip_address(address), networks), address


PRIVATE = st.one_of(
    *(
        st.integers(int(network[0]), int(network[-1])).map(IPv4Address)
        for network in map(
            ip_network,
            ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        )
    )
)
INSIDE = ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2606:4700::5efe:0:0"]


@given(PRIVATE, st.sampled_from(INSIDE))
def test_no_way_to_write_a_private_address_gets_through(inner, prefix):
    assert not is_allowed(inner)
    assert not is_allowed(IPv6Address(int(IPv6Address(prefix)) + int(inner)))


@given(PRIVATE, st.integers(0, 2**80 - 1))
def test_no_6to4_address_gets_through(inner, rest):
    assert not is_allowed(IPv6Address(0x2002 << 112 | int(inner) << 80 | rest))


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_or_multicast_is_public(address):
    if is_allowed(address):
        nat64 = isinstance(address, IPv6Address) and address in ip_network("64:ff9b::/96")
        mapped = getattr(address, "ipv4_mapped", None)
        judged = mapped or address
        assert nat64 or (judged.is_global and not judged.is_multicast)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001", "2130706433", "127.1"])
def test_names_are_judged_by_what_they_resolve_to(host):
    with pytest.raises(WebhookAddressError, match="not public"):
        resolve(host, 80)
    with pytest.raises(WebhookAddressError, match="ALLOW_NETWORKS"):
        refuse_known(host, 80, (), 5)
    assert resolve(host, 80, LOOPBACK)
    refuse_known(host, 80, LOOPBACK, 5)


def test_a_name_that_does_not_resolve():
    with pytest.raises(LookupError, match="does not resolve"):
        resolve("nowhere.invalid", 80)
    refuse_known("nowhere.invalid", 80, (), 5)


def test_one_private_address_among_others_is_enough(monkeypatch):
    def found(*_, **__):
        return [(2, 1, 6, "", (text, 80)) for text in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr("socket.getaddrinfo", found)
    with pytest.raises(WebhookAddressError, match=r"is at 10\.0\.0\.1"):
        resolve("both.example", 80)


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    ended = Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ended.wait(30) and [])
    refuse_known("slow.example", 80, (), 0.05)
    ended.set()


def looked_up(use):
    """What `use` makes of a lookup, and what the loop was told of as an error."""
    errors = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        found = await use()
        gc.collect()
        await asyncio.sleep(0)
        return found

    return asyncio.run(asyncio.wait_for(run(), 20)), errors


def test_a_lookup_gives_the_addresses_or_the_reason():
    async def given_addresses():
        return await lookup("127.0.0.1", 80, LOOPBACK)

    assert looked_up(given_addresses) == ([ip_address("127.0.0.1")], [])

    async def refused():
        with pytest.raises(WebhookAddressError, match="not public"):
            await lookup("127.0.0.1", 80, ())

    assert looked_up(refused) == (None, [])


def test_a_lookup_that_nobody_waits_for_any_more_is_no_error(monkeypatch):
    answered = Event()

    def answer(*_, **__):
        answered.wait(10)
        return [(2, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr("socket.getaddrinfo", answer)

    async def leave(cancel):
        future = lookup("slow.example", 80, ())
        [thread] = [each for each in threading.enumerate() if each.name == "webhook lookup"]
        assert thread.daemon, "a resolver that hangs must not keep the process"
        if cancel:
            future.cancel()
        answered.set()
        await asyncio.to_thread(thread.join, 10)
        await asyncio.sleep(0.01)
        assert future.done()

    assert looked_up(lambda: leave(cancel=True)) == (None, [])
    answered.clear()
    assert looked_up(lambda: leave(cancel=False)) == (None, [])


def test_a_loop_may_end_before_its_lookup(monkeypatch):
    answered, failed = Event(), []
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answered.wait(10) and [])
    monkeypatch.setattr("threading.excepthook", failed.append)

    async def leave():
        lookup("slow.example", 80, ())
        return [each for each in threading.enumerate() if each.name == "webhook lookup"]

    ([thread], errors) = looked_up(leave)
    answered.set()
    thread.join(10)
    assert not thread.is_alive()
    assert (errors, failed) == ([], [])


def test_refusing_waits_for_the_resolver_and_leaves_a_thread_that_ends_with_the_process(
    monkeypatch,
):
    ended = Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ended.wait(30) and [])
    refuse_known("slow.example", 80, (), 0.05)
    [thread] = [each for each in threading.enumerate() if each.name == "webhook lookup"]
    assert thread.daemon
    ended.set()
    thread.join(10)


def test_an_address_may_have_a_zone_and_names_are_asked_of_the_resolver_for_streams(monkeypatch):
    asked = []

    def found(*arguments, **options):
        asked.append((arguments, options))
        return [(10, 1, 6, "", ("2606:4700::1%eth0", 80, 0, 2))]

    monkeypatch.setattr("socket.getaddrinfo", found)
    assert resolve("zone.example", 80) == [ip_address("2606:4700::1")]
    assert asked == [(("zone.example", 80), {"type": 1})]
