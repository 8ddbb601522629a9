from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.urls import MAX_LENGTH, HttpUrl, UrlText, UrlTextOrNone, parse_url

ACCEPTED = {
    "https://example.com": HttpUrl("https", "example.com", 443),
    "HTTP://Example.COM:8080/a/b?c=d&e=%20": HttpUrl("http", "example.com", 8080),
    "http://10.0.0.1/": HttpUrl("http", "10.0.0.1", 80),
    "http://[::1]:9/x": HttpUrl("http", "::1", 9),
    "http://[0:0:0:0:0:0:0:1]": HttpUrl("http", "::1", 80),
    "http://hook_a.default.svc.cluster.local/x": HttpUrl(
        "http", "hook_a.default.svc.cluster.local", 80
    ),
    "https://xn--bcher-kva.example/": HttpUrl("https", "xn--bcher-kva.example", 443),
    "https://example.com?x=/../..//": HttpUrl("https", "example.com", 443),
    "http://a:1": HttpUrl("http", "a", 1),
    "http://a:65535": HttpUrl("http", "a", 65535),
}
REFUSED = {
    "": "begins with",
    "no url": "character",
    "//example.com": "begins with",
    "ftp://example.com": "begins with",
    "file:///etc/passwd": "begins with",
    "javascript:alert(1)": "begins with",
    "http:/example.com": "begins with",
    "http://": "DNS name",
    "http:///x": "DNS name",
    "http://a:b": "host:port",
    "http://a:": "1 to 65535",
    "http://a:0": "1 to 65535",
    "http://a:65536": "1 to 65535",
    "http://a:99999999999": "host:port",
    "http://a:-1": "host:port",
    "http://a:+1": "host:port",
    "https://u:p@example.com": "user and password",
    "https://u@example.com": "user and password",
    "https://@example.com": "user and password",
    "http://example.com#@evil.test": "fragment",
    "http://example.com/#": "fragment",
    "http://example.com\\@evil.test": "character",
    "http://exa mple.com": "character",
    "http://example.com/a b": "character",
    " http://example.com": "character",
    "http://example.com\n": "character",
    "http://example.com/\r\nHost: x": "character",
    "http://example.com/\x01": "character",
    "http://example.com/\x7f": "character",
    "http://example.com/\0": "character",
    "http://example.com/\ud800": "character",
    "http://example.com/\u00e9": "character",
    "http://b\u00fccher.example": "xn--",
    "http://\uff11\uff12\uff17.0.0.1": "character",
    "http://127\u30020.0.1": "character",
    "http://example.com/%zz": "character",
    "http://example.com/%": "character",
    "http://%31%32%37.0.0.1": "percent-encoding",
    "http://2130706433": "IPv4",
    "http://0x7f000001": "IPv4",
    "http://0x7f.1": "IPv4",
    "http://127.1": "IPv4",
    "http://127.0.1": "IPv4",
    "http://0177.0.0.1": "IPv4",
    "http://127.0.0.01": "IPv4",
    "http://256.0.0.1": "IPv4",
    "http://1.2.3.4.5": "IPv4",
    "http://foo.0x1": "IPv4",
    "http://127.0.0.1.": "DNS name",
    "http://localhost.": "DNS name",
    "http://a..b": "DNS name",
    "http://.a": "DNS name",
    "http://-a.example": "DNS name",
    "http://a-.example": "DNS name",
    f"http://{'a' * 64}.example": "DNS name",
    f"http://{'a.' * 130}example": "DNS name",
    "http://[::1": "host:port",
    "http://::1": "host:port",
    "http://[::1%25eth0]": "zone",
    "http://[fe80::1%eth0]": "character",
    "http://[127.0.0.1]": "IPv6",
    "http://[v1.x]": "IPv6",
    "http://[::1]x": "host:port",
    "http://a/[": "IPv6 address only",
    "http://a/]": "IPv6 address only",
    "http://a/?[": "IPv6 address only",
    "http://a/?]": "IPv6 address only",
    f"http://example.com/{'a' * MAX_LENGTH}": "at most",
}


@pytest.mark.parametrize(("text", "expected"), ACCEPTED.items())
def test_accepted(text, expected):
    assert parse_url(text) == expected


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


PIECES = st.sampled_from(
    [
        "http://",
        "https://",
        "a",
        "example.com",
        "127.0.0.1",
        "[::1]",
        ":",
        "80",
        "/",
        "?",
        "#",
        "@",
        "%41",
        "%",
        "\\",
        " ",
        "\t",
        "\r\n",
        "\0",
        "\u00e9",
        "\uff0e",
        "..",
        "xn--a",
        "[",
        "]",
        "x=1&",
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30))
@example("http://a:080")
@example("http://example.com:443/%2e%2e/")
def test_what_is_accepted_is_read_alike_by_every_client(text):
    """Also with what comes before: a property that most texts pass since they are refused."""
    for url in (text, f"http://{text}", f"http://example.com/{text}"):
        try:
            read = parse_url(url)
        except ValueError:
            continue
        ours = (read.scheme, read.host, read.port)
        usual = {"http": 80, "https": 443}[read.scheme]
        split, sent = urlsplit(url), httpx2.URL(url)
        assert (split.scheme, split.hostname, split.port or usual) == ours
        assert (sent.scheme, sent.host, sent.port or usual) == ours
        assert (sent.username, sent.password, sent.fragment) == ("", "", "")
        assert sent.copy_with(host="192.0.2.1").host == "192.0.2.1"
        target = sent.raw_path.decode("ascii")
        assert target.isprintable()
        assert " " not in target


def test_length_of_a_url():
    start = "http://example.com/"
    assert parse_url(start + "a" * (2000 - len(start))).host == "example.com"
    with pytest.raises(ValueError, match="a URL has at most 2000 characters"):
        parse_url(start + "a" * (2001 - len(start)))


def test_length_of_a_host():
    host = "a." * 126 + "a"
    assert len(parse_url(f"http://{host}").host) == 253
    with pytest.raises(ValueError, match="the host is no DNS name"):
        parse_url(f"http://{host}a")


def test_a_field_keeps_the_text_that_it_was_given():
    field = TypeAdapter(UrlText)
    assert field.validate_python("HTTP://Example.COM:8080/a") == "HTTP://Example.COM:8080/a"
    with pytest.raises(ValidationError):
        field.validate_python("ftp://example.com")


def test_a_field_may_be_left_empty():
    field = TypeAdapter(UrlTextOrNone)
    assert field.validate_python("") == ""
    assert field.validate_python("http://a") == "http://a"
    with pytest.raises(ValidationError):
        field.validate_python("ftp://example.com")
