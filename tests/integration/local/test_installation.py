"""Servers of the user's own are used instead of ours, and named when they do not answer."""

import pytest

from app.local.installation import installation
from app.local.process import LocalError
from app.local.valkey import free_port
from app.settings import Settings


def test_servers_named_by_the_user_are_used(tmp_path, postgres_server, valkey_server):
    settings = Settings(
        data_dir=tmp_path,
        database={"url": postgres_server.create_database("users_own")},
        queue={"url": valkey_server.url},
        api={"port": free_port()},
    )
    with installation(settings, report=print, workers=0) as house:
        started = {path.name for path in (tmp_path / "run").iterdir()}
        assert house.settings.database.url == settings.database.url
    assert started == {"api", "maintenance"}
    postgres_server.drop_database("users_own")


def test_a_database_that_does_not_answer_is_said_to(tmp_path):
    settings = Settings(
        data_dir=tmp_path,
        database={"url": "postgresql+psycopg://127.0.0.1:9/none"},
        queue={"url": "redis://127.0.0.1:9/0"},
        api={"port": free_port()},
    )
    with (
        pytest.raises(LocalError, match="the database cannot be used: connection failed"),
        installation(settings, report=print),
    ):
        pass
