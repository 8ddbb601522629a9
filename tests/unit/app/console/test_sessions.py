"""Sessions: signed, ending, each with a token of its own; the key that signs is made once."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.console import sessions as module
from app.console.sessions import Sessions, signing_key
from app.domain.projects import Scope
from app.domain.tokens import Grant

KEY = bytes(32)
ID = "key_019a44d2c1f07b3e9c55d0a1b2c3d4e5"


def test_a_session_is_recognised_until_it_ends(monkeypatch):
    sessions = Sessions(KEY, 60)
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    begun = sessions.begin(ID)
    assert sessions.read(begun.token) == begun
    assert (begun.holder, begun.ends) == (ID, 1060)
    monkeypatch.setattr(module.time, "time", lambda: 1059.9)
    assert sessions.read(begun.token) == begun
    monkeypatch.setattr(module.time, "time", lambda: 1060.0)
    assert sessions.read(begun.token) is None


def test_nobody_else_makes_a_session():
    sessions, token = Sessions(KEY, 60), Sessions(bytes(31) + b"x", 60).begin(ID).token
    assert sessions.read(token) is None
    key_id, ends, mac = sessions.begin(ID).token.split(".")
    for changed in (
        f"{key_id}0.{ends}.{mac}",
        f"{key_id}.{int(ends) + 1}.{mac}",
        f"{key_id}.{ends}.{mac[:-1]}{'0' if mac[-1] != '0' else '1'}",
        f"{key_id}.{ends}.{sessions.csrf_token(sessions.begin(ID))}",
        f"{key_id}.{ends}",
        f"{key_id}.{ends}.{mac}\n",
        "",
        "é.1.2",
    ):
        assert sessions.read(changed) is None, changed


@pytest.mark.parametrize("subject", ["oidc:ada", "oidc:" + "\N{GRINNING FACE}" * 255])
def test_a_session_holds_what_an_issuer_granted(subject):
    sessions, grant = Sessions(KEY, 60), Grant(subject, "p" * 200, Scope.SUBMIT)
    begun = sessions.begin(grant)
    assert sessions.read(begun.token) == begun
    assert sessions.read(begun.token).holder == grant
    assert len(begun.token) < 4000, "what browsers keep"
    higher = sessions.begin(Grant(subject, "p" * 200, Scope.ADMIN)).token.partition(".")[0]
    assert sessions.read(f"{higher}.{begun.token.partition('.')[2]}") is None


@pytest.mark.parametrize(("seconds", "lasts"), [(None, 60), (10, 10), (600, 60)])
def test_a_session_may_be_shorter(monkeypatch, seconds, lasts):
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    assert Sessions(KEY, 60).begin(ID, seconds).ends == 1000 + lasts


def test_each_session_has_its_own_csrf_token():
    sessions = Sessions(KEY, 60)
    mine, other = sessions.begin(ID), sessions.begin(ID[:-1] + "6")
    assert sessions.is_csrf_token(mine, sessions.csrf_token(mine))
    assert not sessions.is_csrf_token(other, sessions.csrf_token(mine))
    assert not sessions.is_csrf_token(mine, "")
    assert not sessions.is_csrf_token(mine, "\ud800")


def test_processes_that_start_together_get_one_key(tmp_path):
    path = tmp_path / "new" / "key"
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(signing_key, [path] * 8))
    assert len(made) == 1
    assert len(made.pop()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_that_is_being_written_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.touch()
    monkeypatch.setattr(module.time, "sleep", lambda _: path.write_text("ab" * 32))
    assert signing_key(path) == bytes.fromhex("ab" * 32)


def test_a_key_may_lie_where_nobody_may_write(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("cd" * 32 + "\n")
    monkeypatch.setattr(module.os, "open", lambda *_: pytest.fail("it is there"))
    assert signing_key(path) == bytes.fromhex("cd" * 32)


def test_a_file_without_a_key_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0)
    path = tmp_path / "key"
    path.write_text("secret")
    with pytest.raises(ValueError, match="does not hold a signing key"):
        signing_key(path)
