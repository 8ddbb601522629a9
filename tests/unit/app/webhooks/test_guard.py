from ipaddress import ip_address

import pytest

from app.domain.errors import WebhookAddressError
from app.webhooks.guard import is_allowed, resolve

REFUSED = [
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "2002:a00:1::",
]


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_what_is_not_public_is_refused(address, allow_loopback):
    assert not is_allowed(ip_address(address), allow_loopback=allow_loopback)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_the_setting(address):
    assert not is_allowed(ip_address(address), allow_loopback=False)
    assert is_allowed(ip_address(address), allow_loopback=True)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_fine(address):
    assert is_allowed(ip_address(address), allow_loopback=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001", "2130706433", "127.1"])
def test_names_are_judged_by_what_they_resolve_to(host):
    with pytest.raises(WebhookAddressError, match="not public"):
        resolve(host, 80, allow_loopback=False)


def test_a_name_that_does_not_resolve():
    with pytest.raises(WebhookAddressError, match="does not resolve"):
        resolve("nowhere.invalid", 80, allow_loopback=True)
