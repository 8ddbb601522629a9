"""Addresses that an issuer tells: https, or this machine's where the issuer is there too."""

import pytest

from app.oidc.issuer import endpoint

LOCAL, AWAY = "http://127.0.0.1:8080", "https://id.example"


@pytest.mark.parametrize(
    ("address", "issuer"),
    [
        ("https://keys.example/jwks", AWAY),
        ("https://keys.example/jwks?v=1", LOCAL),
        ("http://127.0.0.1:8080/jwks", LOCAL),
        ("http://localhost/jwks", LOCAL),
        ("http://[::1]/jwks", LOCAL),
    ],
)
def test_addresses_that_are_asked(address, issuer):
    assert endpoint({"jwks_uri": address}, "jwks_uri", issuer) == address


@pytest.mark.parametrize(
    ("address", "issuer"),
    [
        ("http://keys.example/jwks", AWAY),
        ("http://keys.example/jwks", LOCAL),
        ("http://127.0.0.1.example/jwks", LOCAL),
        ("HTTP://169.254.169.254/latest", LOCAL),
        ("http://127.0.0.1:8080/jwks", AWAY),
        ("HTTP://127.0.0.1:8080/jwks", AWAY),
        ("http://2130706433/jwks", LOCAL),
        ("https://user:password@keys.example/jwks", AWAY),
        ("file:///etc/passwd", AWAY),
        ("//keys.example/jwks", AWAY),
        ("", AWAY),
        (None, AWAY),
        (["https://keys.example/jwks"], AWAY),
    ],
)
def test_addresses_that_are_not(address, issuer):
    with pytest.raises(ValueError, match=r"jwks_uri|URL|host|IPv4"):
        endpoint({"jwks_uri": address}, "jwks_uri", issuer)
