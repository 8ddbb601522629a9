"""A push that hangs, or fails in a way nobody foresaw, keeps no other publication from its own."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app import publish
from app.db import projects, publications, quarantine, tables
from app.domain.access import Limits
from app.domain.destinations import S3Prefix
from app.domain.publications import PublishRequest
from app.domain.quarantine import Loop
from app.storage.store import open_store
from tests.integration.app.rows import new_job

PLACE = S3Prefix(kind="s3", url="s3://nowhere/x", secret="PUSH_S3")


@pytest.fixture
def publisher(engine, settings):
    return publish.Publisher(engine, open_store(settings.storage.dir), {"place": PLACE})


@pytest.fixture
def waiting(engine):
    """Queue a publication for a job of a project; returns its id."""

    def waiting(project_id):
        with engine.begin() as connection:
            job = new_job(connection, max_attempts=1, project_id=project_id)
            wanted = PublishRequest(destination="place", target="a")
            publications.add(connection, job.id, [wanted])
            return publications.of_job(connection, job.id)[0].id

    return waiting


def states(engine):
    with engine.connect() as connection:
        query = select(tables.publications.c.id, tables.publications.c.state)
        return {row.id: row.state for row in connection.execute(query)}


def test_a_project_whose_push_hangs_holds_up_only_itself(engine, publisher, waiting, monkeypatch):
    with engine.begin() as connection:
        slow, other = (projects.create(connection, name, Limits()).id for name in ("slow", "other"))
    first, second, theirs = waiting(slow), waiting(slow), waiting(other)
    begun, ended = threading.Event(), threading.Event()

    def attempt(_, __, ___, publication):
        if publication.id in {first, second}:
            begun.set()
            ended.wait(60)
        return "s3://nowhere"

    monkeypatch.setattr(publish, "_attempt", attempt)
    hanging = threading.Thread(target=publisher.publish_due)
    hanging.start()
    assert begun.wait(30)
    assert publisher.publish_due()
    assert not publisher.publish_due(), "the project has one push under way"
    assert states(engine) == {first: "pending", second: "pending", theirs: "published"}
    ended.set()
    hanging.join()
    assert publisher.publish_due()
    assert set(states(engine).values()) == {"published"}


def test_what_nobody_foresaw_is_set_aside_and_tried_again(engine, publisher, waiting, monkeypatch):
    poison, good = waiting("prj_default"), waiting("prj_default")

    def attempt(_, __, ___, publication):
        if publication.id == poison:
            raise KeyError("model_versions")
        return "s3://nowhere"

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_attempt", attempt)
        assert publisher.publish_due()
        assert publisher.publish_due()
        assert not publisher.publish_due()
    assert states(engine) == {poison: "pending", good: "published"}
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.PUBLISH, poison)
    with engine.begin() as connection:
        for table in (tables.publications, tables.quarantine):
            connection.execute(update(table).values(next_at=func.now()))
    monkeypatch.setattr(publish, "_attempt", lambda *_: "s3://nowhere")
    while publisher.publish_due():
        pass
    assert states(engine)[poison] == "published"


def test_a_row_that_cannot_be_taken_keeps_no_other(engine, publisher, waiting, monkeypatch):
    poison, good = waiting("prj_default"), waiting("prj_default")
    with engine.begin() as connection:
        odd = update(tables.publications).where(tables.publications.c.id == poison)
        connection.execute(odd.values(attempts=2**31 - 1, next_at=func.now() - timedelta(1)))
    monkeypatch.setattr(publish, "_attempt", lambda *_: "s3://nowhere")
    assert publisher.publish_due()
    assert publisher.publish_due()
    assert states(engine) == {poison: "pending", good: "published"}
    with engine.connect() as connection:
        (found,) = quarantine.newest(connection, limit=9)
    assert (found.loop, found.item) == (Loop.PUBLISH, poison)
