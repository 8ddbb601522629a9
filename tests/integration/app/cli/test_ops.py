"""doctor, migrate, gc: on the machine that runs the service."""

import json

from alembic import command

from app.db import migrate


def test_a_healthy_house(secateur):
    seen = secateur("doctor", "--json")
    found = json.loads(seen.stdout)
    assert seen.exit_code == 0, found
    assert set(found) == {"database", "migrations", "broker", "store", "disk", "torch"}
    assert found["database"]["detail"].startswith("PostgreSQL 1")
    assert "2.13" in found["torch"]["detail"]


def test_everything_that_is_wrong_is_told(secateur, monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_QUEUE__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", "postgresql+psycopg://127.0.0.1:1/none")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SECATEUR_STORAGE__DIR", str(tmp_path / "file"))
    seen = secateur("doctor", "--json")
    found = json.loads(seen.stdout)
    assert seen.exit_code == 1
    wrong = {name for name, finding in found.items() if not finding["ok"]}
    assert wrong == {"database", "migrations", "broker", "store"}
    assert "WRONG" in secateur("doctor").stdout


def test_migrate_brings_an_old_database_up(secateur, monkeypatch, postgres_server):
    url = postgres_server.create_database("old")
    command.upgrade(migrate.config(url), "0003")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", url)
    assert json.loads(secateur("doctor", "--json").stdout)["migrations"]["ok"] is False
    assert secateur("migrate").exit_code == 0
    assert secateur("migrate").exit_code == 0
    assert json.loads(secateur("doctor", "--json").stdout)["migrations"]["ok"] is True


def test_gc_discards_what_no_job_owns(secateur, house):
    left = house.settings.storage.dir / "published" / "job_gone-1"
    left.mkdir(parents=True)
    assert json.loads(secateur("gc", "--json").stdout)["files"] >= 1
    assert not left.exists()
