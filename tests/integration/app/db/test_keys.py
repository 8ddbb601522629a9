"""Keys: which are live, what they open, and what becomes of them."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db import projects as stored
from app.db.tables import api_keys, audit
from app.domain.projects import ApiKeyNotFoundError, Caller, KeyInvalidError, Limits, Scope
from app.services.projects import service

DEFAULT, MINUTE = "prj_default", timedelta(minutes=1)
OPERATOR = Caller("key_operator", DEFAULT, Scope.ADMIN, Limits())


def put(connection, key, **columns):
    connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(**columns))


def of(connection, key):
    return connection.execute(select(api_keys).where(api_keys.c.id == key.id)).one()


def opens(connection, secret):
    try:
        return service.authenticate(connection, secret)
    except KeyInvalidError:
        return None


def noted(connection):
    query = select(audit.c.action, audit.c.target).order_by(audit.c.id)
    return [tuple(row) for row in connection.execute(query)]


def test_a_key_opens_its_project_with_its_scope(connection, rows):
    rows.project("other")
    key, secret = service.issue_key(connection, "ci", project_id="prj_other", scope=Scope.READ)
    assert service.authenticate(connection, secret) == Caller(
        key.id, "prj_other", Scope.READ, Limits()
    )
    assert opens(connection, secret + "x") is None
    with pytest.raises(KeyInvalidError, match="not known here"):
        service.authenticate(connection, "sct_none")


def test_a_key_is_stored_as_its_digest_alone(connection):
    key, secret = service.issue_key(connection, "ci")
    row = of(connection, key)
    assert bytes(row.sha256) == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(row)
    assert secret.startswith("sct_")
    assert len(secret) == 4 + 43, "256 bits"
    assert (key.scope, key.project_id, key.expires_at) == (Scope.ADMIN, DEFAULT, None)
    assert isinstance(key.scope, Scope)
    assert stored.live_key(connection, DEFAULT, key.id).scope is Scope.ADMIN


@pytest.mark.parametrize(
    ("columns", "live"),
    [
        ({"expires_at": func.now() + MINUTE}, True),
        ({"expires_at": func.now()}, False),
        ({"expires_at": func.now() - MINUTE}, False),
        ({"revoked_at": func.now() - MINUTE}, False),
        ({"revoked_at": func.now() + MINUTE}, False),
        ({"revoked_at": func.now(), "expires_at": func.now() + MINUTE}, False),
    ],
)
def test_revoked_and_expired_keys_open_nothing(connection, columns, live):
    key, secret = service.issue_key(connection, "ci")
    _, other = service.issue_key(connection, "other")
    put(connection, key, **columns)
    assert (opens(connection, secret) is not None) is live
    assert opens(connection, other)
    assert (stored.live_key(connection, DEFAULT, key.id) is not None) is live
    ended = stored.end_key(connection, DEFAULT, key.id, grace=timedelta(0))
    assert (ended is not None) is live


@pytest.mark.parametrize(
    ("ago", "noted_again"),
    [(None, True), (timedelta(0), False), (MINUTE, False), (MINUTE * 1.01, True)],
)
def test_use_is_noted_once_a_minute(connection, rows, ago, noted_again):
    key, secret = service.issue_key(connection, "ci")
    other, _ = service.issue_key(connection, "other")
    before = None if ago is None else rows.now - ago
    put(connection, key, last_used_at=before)
    opens(connection, secret)
    assert of(connection, key).last_used_at == (rows.now if noted_again else before)
    assert of(connection, other).last_used_at is None


def test_a_request_waits_for_no_other_of_its_key(connection, engine):
    with engine.begin() as other:
        key, secret = service.issue_key(other, "ci")
    try:
        with engine.connect() as other:
            other.execute(select(api_keys).where(api_keys.c.id == key.id).with_for_update())
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            assert opens(connection, secret)
    finally:
        connection.rollback()
        with engine.begin() as other:
            other.execute(api_keys.delete())


def test_keys_are_listed_by_project_newest_first(connection, rows):
    rows.project("other")
    made = [service.issue_key(connection, name)[0] for name in "abc"]
    service.issue_key(connection, "theirs", project_id="prj_other")
    put(connection, made[0], revoked_at=func.now())
    assert [key.name for key in service.list_keys(connection, OPERATOR)] == ["c", "b", "a"]
    assert stored.live_key(connection, "prj_other", made[1].id) is None
    assert stored.live_key(connection, DEFAULT, made[1].id) == made[1]


def test_a_key_that_is_rotated_lives_on_for_its_grace(connection, rows):
    end = rows.now + 9 * MINUTE
    key, secret = service.issue_key(connection, "ci", scope=Scope.SUBMIT, expires_at=end)
    other, _ = service.issue_key(connection, "other")
    new, fresh = service.rotate_key(connection, OPERATOR, key.id, grace=MINUTE)
    assert (new.name, new.scope, new.expires_at) == ("ci", Scope.SUBMIT, end)
    assert new.project_id == DEFAULT
    assert opens(connection, secret)
    assert opens(connection, fresh)
    assert of(connection, key).expires_at == rows.now + MINUTE
    assert of(connection, key).revoked_at is None
    assert of(connection, other).expires_at is None
    assert noted(connection) == [("key.rotate", key.id)]


def test_a_grace_makes_no_key_live_longer(connection, rows):
    end = rows.now + MINUTE
    key, _ = service.issue_key(connection, "ci", expires_at=end)
    service.rotate_key(connection, OPERATOR, key.id, grace=5 * MINUTE)
    assert of(connection, key).expires_at == end


def test_a_key_that_is_revoked_ends_at_once(connection, rows):
    key, secret = service.issue_key(connection, "ci")
    _, other = service.issue_key(connection, "other")
    ended = service.revoke_key(connection, OPERATOR, key.id)
    assert (ended.id, ended.revoked_at) == (key.id, rows.now)
    assert opens(connection, secret) is None
    assert opens(connection, other)
    assert noted(connection) == [("key.revoke", key.id)]


@pytest.mark.parametrize(
    "do", [service.revoke_key, lambda *told: service.rotate_key(*told, grace=timedelta(0))]
)
def test_keys_of_other_projects_cannot_be_touched(connection, rows, do):
    rows.project("other")
    theirs, secret = service.issue_key(connection, "theirs", project_id="prj_other")
    for key_id in (theirs.id, "key_none"):
        with pytest.raises(ApiKeyNotFoundError, match=f"no live API key '{key_id}'"):
            do(connection, OPERATOR, key_id)
    assert stored.end_key(connection, DEFAULT, theirs.id, grace=MINUTE) is None
    assert opens(connection, secret)
    assert noted(connection) == []


def test_the_first_key_is_made_once(connection):
    secret = service.create_first_key(connection)
    assert opens(connection, secret).scope is Scope.ADMIN
    assert service.create_first_key(connection) is None
    assert stored.count_keys(connection) == 1
    assert opens(connection, service.create_key(connection, "second")).project_id == DEFAULT


def test_a_key_that_a_caller_makes_is_of_its_project(connection, rows):
    rows.project("other")
    caller = Caller("key_1", "prj_other", Scope.ADMIN, Limits())
    key, secret = service.create_key_for(
        connection, caller, name="ci", scope=Scope.READ, expires_at=rows.now + MINUTE
    )
    assert (key.project_id, key.scope, key.expires_at) == (
        "prj_other",
        Scope.READ,
        rows.now + MINUTE,
    )
    assert opens(connection, secret).project_id == "prj_other"
    assert noted(connection) == [("key.create", key.id)]
