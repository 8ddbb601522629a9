"""A request that is sent again finds what it made the first time."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.db import projects
from app.db.tables import idempotency
from app.domain.projects import Caller, Limits, Scope
from app.errors import IdempotencyInFlightError, IdempotencyMismatchError
from app.services.projects.service import once

CALLER = Caller("key_1", "prj_default", Scope.SUBMIT, Limits())
PAYLOAD = {"model": "a", "sparsity": 0.5}


@dataclass
class Made:
    id: str


@pytest.fixture
def ask(connection):
    """Sends a request; what it makes has the next number for its id."""
    made = []

    def make():
        made.append(Made(f"job_{len(made)}"))
        return made[-1]

    def ask(key, payload=PAYLOAD, caller=CALLER, on=connection, make=make):
        return once(on, caller, key, payload, make=make, again=lambda id_: Made(f"again {id_}"))

    return ask


def test_without_a_key_every_request_makes_something(ask):
    assert [ask(None), ask(None)] == [(Made("job_0"), False), (Made("job_1"), False)]


def test_with_a_key_the_second_finds_what_the_first_made(ask):
    assert ask("k") == (Made("job_0"), False)
    assert ask("k") == (Made("again job_0"), True)
    assert ask("k", dict(reversed(PAYLOAD.items()))) == (Made("again job_0"), True)
    assert ask("another") == (Made("job_1"), False)


def test_another_payload_is_another_request(ask):
    ask("k")
    with pytest.raises(IdempotencyMismatchError):
        ask("k", PAYLOAD | {"sparsity": 0.6})


def test_models_count_by_their_content(ask):
    ask("k", {"limits": Limits(queued_jobs=1)})
    assert ask("k", {"limits": Limits(queued_jobs=1)})[1]
    with pytest.raises(IdempotencyMismatchError):
        ask("k", {"limits": Limits(queued_jobs=2)})


def test_keys_of_two_projects_do_not_meet(ask, rows):
    ask("k")
    other = replace(CALLER, project_id=rows.project("other"))
    assert ask("k", caller=other) == (Made("job_1"), False)


def test_while_the_first_is_at_work_the_second_waits_outside(ask, engine):
    ask("k")
    with engine.connect() as another:
        with pytest.raises(IdempotencyInFlightError):
            ask("k", on=another)
        another.rollback()


def test_what_failed_is_not_remembered(ask):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ask("k", make=fail)
    assert ask("k") == (Made("job_0"), False)


@pytest.mark.parametrize(("hours", "again"), [(23.9, True), (24.1, False)])
def test_an_answer_is_kept_for_a_day(ask, connection, hours, again):
    ask("k")
    at = func.now() - timedelta(hours=hours)
    connection.execute(update(idempotency).values(created_at=at))
    assert ask("k")[1] is again
    assert ask("k")[1], "what is new counts from now"


def test_old_answers_are_forgotten(ask, connection):
    for key in "ab":
        ask(key)
    at = func.now() - timedelta(hours=24.1)
    connection.execute(update(idempotency).where(idempotency.c.key == "a").values(created_at=at))
    assert projects.forget_old_requests(connection) == 1
    assert ask("b")[1]
