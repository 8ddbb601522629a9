"""The issuer rotates its keys, goes away, or says what is wrong; floods do not reach it."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.oidc import issuer as module
from app.oidc.issuer import Issuer
from tests.integration.app.problem import assert_problem


def unavailable(answer):
    assert_problem(answer, 503, "issuer_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_new_key_is_fetched_and_a_withdrawn_one_forgotten(ask, token, issuer):
    old = token()
    assert ask(old).status_code == 200
    issuer.rotate()
    assert ask(token()).status_code == 200
    assert_problem(ask(old), 401, "token_invalid")


def test_a_withdrawn_key_is_forgotten_without_a_new_one(ask, token, issuer, monkeypatch):
    old = token()
    assert ask(old).status_code == 200
    issuer.rotate()
    assert ask(old).status_code == 200, "known for a while"
    monkeypatch.setattr(module, "FRESH", 0.0)
    for _ in range(100):
        if ask(old).status_code == 401:
            break
    assert_problem(ask(old), 401, "token_invalid")


def test_what_is_known_is_not_fetched_again(ask, token, issuer):
    assert ask(token()).status_code == 200
    before = issuer.asked()
    held = [token(), token(sub="bob"), token(aud="other"), token(iss="https://evil.example")]
    assert [ask(each).status_code for each in held] == [200, 200, 401, 401]
    assert ask(token({"kid": "none"}, iss="https://evil.example")).status_code == 401
    assert {name: issuer.asked()[name] for name in ("discovery", "jwks")} == {
        name: before[name] for name in ("discovery", "jwks")
    }


def test_invented_keys_do_not_become_requests_to_the_issuer(ask, token, issuer, monkeypatch):
    assert ask(token()).status_code == 200
    monkeypatch.setattr(module, "PAUSE", 600.0)
    forged = [token({"kid": f"made-up-{number}"}) for number in range(30)]
    before = issuer.asked()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, forged))
    assert {answer.status_code for answer in answers} == {401}
    assert issuer.asked() == before
    assert ask(token()).status_code == 200


def test_known_keys_go_on_while_the_issuer_is_away(ask, token, issuer, monkeypatch):
    held, unknown = token(), token({"kid": "new"})
    assert ask(held).status_code == 200
    issuer.end()
    unavailable(ask(unknown))
    monkeypatch.setattr(module, "FRESH", 0.0)
    assert ask(held).status_code == 200
    monkeypatch.setattr(module, "LAST_RESORT", 0.0)
    unavailable(ask(held))


def test_an_issuer_that_is_away_at_the_start_is_asked_again(
    token_settings, vision, token, issuer, engine
):
    held = {"Authorization": f"Bearer {token()}"}
    issuer.end()
    with TestClient(create_app(token_settings)) as client:
        unavailable(client.get("/v1/project", headers=held))
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200
        issuer.start()
        held = {"Authorization": f"Bearer {token()}"}
        assert client.get("/v1/project", headers=held).status_code == 200


SPOILT = {
    "another name": {"discovery": {"issuer": "https://evil.example"}},
    "no keys' address": {"discovery": {"jwks_uri": None}},
    "plain http elsewhere": {"discovery": {"jwks_uri": "http://203.0.113.9/jwks"}},
    "a file": {"discovery": {"jwks_uri": "file:///etc/passwd"}},
    "credentials": {"discovery": {"jwks_uri": "https://a:b@evil.example/"}},
    "an error": {"discovery": 500},
    "a redirect": {"discovery": 302},
    "no JSON": {"discovery": "<html>"},
    "much": {"discovery": '{"a": "' + "x" * 300_000 + '"}'},
    "deep": {"jwks": "[" * 1000},
    "a list": {"jwks": "[]"},
    "no list of keys": {"jwks": {"keys": {}}},
    "no keys": {"jwks": {"keys": []}},
    "keys for other things": {
        "jwks": {
            "keys": [
                {"kty": "oct", "k": "AAAA"},
                {"kty": "RSA", "use": "enc", "n": "x" * 342, "e": "AQAB"},
                {"kty": "RSA", "n": "x" * 171, "e": "AQAB"},
                {"kty": "RSA", "n": 7, "e": "AQAB"},
                {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
                {"kty": ["RSA"]},
                "x",
            ]
        }
    },
}


@pytest.mark.parametrize("overlay", SPOILT.values(), ids=SPOILT)
def test_what_an_issuer_says_is_looked_at(token_settings, vision, token, issuer, overlay, caplog):
    held = {"Authorization": f"Bearer {token()}"}
    issuer.spoil(**overlay)
    caplog.set_level(logging.WARNING)
    with TestClient(create_app(token_settings), raise_server_exceptions=False) as client:
        unavailable(client.get("/v1/project", headers=held))
    assert "the issuer of tokens" in caplog.text


def test_no_redirect_is_followed(token_settings, vision, token, issuer):
    held = {"Authorization": f"Bearer {token()}"}
    issuer.spoil(discovery=302)
    before = issuer.asked()["jwks"]
    with TestClient(create_app(token_settings)) as client:
        unavailable(client.get("/v1/project", headers=held))
    assert issuer.asked()["jwks"] == before


def test_a_set_has_so_many_keys_and_bytes(token_settings, vision, token, issuer):
    [key] = issuer.http.get("/jwks").json()["keys"]
    held = {"Authorization": f"Bearer {token()}"}
    for number, status in ((100, 200), (101, 503)):
        others = [key | {"kid": str(each), "x5c": ["A" * 1500]} for each in range(number - 1)]
        issuer.spoil(jwks={"keys": [*others, key]})
        with TestClient(create_app(token_settings)) as client:
            assert client.get("/v1/project", headers=held).status_code == status


def test_keys_that_are_not_understood_do_not_keep_others_from_use(ask, token, issuer):
    [key] = issuer.http.get("/jwks").json()["keys"]
    others = [{"kty": "AKP", "kid": key["kid"]}, {"kty": "EC", "x": "?"}, {"kty": "oct", "k": "AA"}]
    issuer.spoil(jwks={"keys": [*others, key]})
    assert ask(token()).status_code == 200


def test_a_secret_key_in_the_set_signs_nothing(token_settings, vision, token, issuer):
    """An attacker who knows what an issuer publishes by mistake gains nothing from HMAC."""
    [key] = issuer.http.get("/jwks").json()["keys"]
    issuer.spoil(jwks={"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "h"}, key]})
    head = {"Authorization": f"Bearer {token({'kid': 'h'})}"}
    with TestClient(create_app(token_settings)) as client:
        assert_problem(client.get("/v1/project", headers=head), 401, "token_invalid")


def test_all_that_wait_share_one_fetch(issuer):
    async def ask_often():
        async with Issuer(issuer.url, 5) as asked:
            return await asyncio.gather(*(asked.published() for _ in range(50)))

    before = issuer.asked().get("discovery", 0)
    assert len(set(map(id, asyncio.run(ask_often())))) == 1
    assert issuer.asked()["discovery"] == before + 1


def test_an_issuer_that_hangs_holds_nobody_for_long():
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    async def ask_once():
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with server, asyncio.timeout(5):
            async with Issuer(url, 0.2) as asked:
                with pytest.raises(module.IssuerUnavailableError):
                    await asked.published()
            async with Issuer(url, 60) as asked:
                await asyncio.sleep(0.1)
            assert asked._fetch.cancelled(), "the end does not wait for it"

    asyncio.run(ask_once())


def test_an_issuer_that_never_ends_is_cut_off():
    sent = 0

    async def pour(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b" " * 65536)
                sent += 65536
                await writer.drain()

    async def ask_once():
        server = await asyncio.start_server(pour, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Issuer(f"http://127.0.0.1:{port}", 3) as asked:
            with pytest.raises(module.IssuerUnavailableError):
                await asked.published()

    asyncio.run(ask_once())
    assert sent < 32 << 20, "what fits into the buffers on the way"
