"""doctor, migrate, gc: on the machine that runs the service."""

import json
import re

from alembic import command

from app.db import migrate, worker_processes
from app.domain.quarantine import Loop
from app.ids import new_id
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.services.quarantine import Guard


def test_a_healthy_house(secateur):
    seen = secateur("doctor", "--json")
    found = json.loads(seen.stdout)
    assert seen.exit_code == 0, found
    needs = {"database", "migrations", "broker", "store", "maintenance", "models", "disk", "torch"}
    needs |= {"worker"}
    assert set(found) == needs | {"service"}
    assert found["service"]["detail"].startswith("ready at")
    assert found["database"]["detail"].startswith("PostgreSQL 1")
    assert re.match(r"torch 2\.13\S*; transformers 5\.\S+; ", found["torch"]["detail"])


def test_doctor_tells_of_the_workers_that_the_service_has_heard_of(secateur, engine):
    machine = Machine("cpu", 8 * 10**9, 2, "cpu", 0, None, 20.0, 1e8)
    new = NewWorker("host:1", machine, {})
    with engine.begin() as connection:
        worker_processes.put(connection, new)
    found = json.loads(secateur("doctor", "--json").stdout)["worker"]
    with engine.begin() as connection:
        worker_processes.remove(connection, new.name)
    assert "host:1 idle" in found["detail"]
    assert found["ok"]


def test_doctor_finds_the_service_on_a_port_that_no_setting_names(secateur, monkeypatch, house):
    monkeypatch.setenv("SECATEUR_API__PORT", "1")
    found = json.loads(secateur("doctor", "--json").stdout)["service"]
    assert found["detail"] == f"ready at {house.url}"


def test_everything_that_is_wrong_is_told(secateur, monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_QUEUE__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", "postgresql+psycopg://127.0.0.1:1/none")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SECATEUR_STORAGE__DIR", str(tmp_path / "file"))
    monkeypatch.setenv("SECATEUR_MODELS__ROOTS", str(tmp_path / "nowhere"))
    seen = secateur("doctor", "--json")
    found = json.loads(seen.stdout)
    assert seen.exit_code == 1
    wrong = {name for name, finding in found.items() if not finding["ok"]}
    assert wrong == {"database", "migrations", "broker", "store", "models"}
    advice = {
        "database": "SECATEUR_DATABASE__URL",
        "migrations": "SECATEUR_DATABASE__URL",
        "broker": "SECATEUR_QUEUE__URL",
        "store": "SECATEUR_STORAGE__DIR",
        "models": "SECATEUR_MODELS__ROOTS",
    }
    for name, variable in advice.items():
        assert variable in found[name]["advice"]
    told = secateur("doctor").stdout
    assert "WRONG" in told
    assert "-> name a running Redis or Valkey in SECATEUR_QUEUE__URL" in told


def test_a_machine_without_servers_is_told_so(secateur, monkeypatch, tmp_path):
    """As in the API's image: neither wheels of servers, nor torch, nor a database named."""
    monkeypatch.delenv("SECATEUR_DATABASE__URL")
    monkeypatch.delenv("SECATEUR_MODELS__ROOTS")
    monkeypatch.setattr("app.local.postgres.find_spec", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = json.loads(secateur("doctor", "--json", "--data-dir", tmp_path).stdout)
    assert found["models"]["ok"], "where none are named, the directory may be made later"
    assert "secateur[local]" in found["database"]["detail"]
    assert not found["migrations"]["ok"]
    assert "secateur[worker]" in found["torch"]["detail"]
    for arguments in (["migrate"], ["gc"], ["keys", "create", "me"]):
        seen = secateur(*arguments, "--data-dir", tmp_path)
        assert seen.exit_code == 2
        assert "SECATEUR_DATABASE__URL" in seen.stderr


def test_migrate_brings_an_old_database_up(secateur, monkeypatch, postgres_server):
    url = postgres_server.create_database("old")
    command.upgrade(migrate.alembic_config(url), "0003")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", url)
    assert json.loads(secateur("doctor", "--json").stdout)["migrations"]["ok"] is False
    assert secateur("migrate").exit_code == 0
    assert secateur("migrate").exit_code == 0
    assert json.loads(secateur("doctor", "--json").stdout)["migrations"]["ok"] is True


def test_what_maintenance_has_set_aside_is_told_with_its_reason(secateur, engine):
    guard = Guard(engine)
    guard.set_aside(Loop.RELAY, "job_odd", ValueError("a queue of [no] name"))
    try:
        found = json.loads(secateur("doctor", "--json").stdout)["maintenance"]
        told = secateur("doctor").stdout
    finally:
        guard.release(Loop.RELAY, "job_odd")
    assert not found["ok"]
    assert "job_odd failed 1 times" in found["detail"]
    assert "ValueError: a queue of [no] name" in found["detail"]
    assert "[no]" in told
    assert json.loads(secateur("doctor", "--json").stdout)["maintenance"]["ok"]


def test_gc_discards_what_no_job_owns_and_tells_what_is_foreign(secateur, house):
    published = house.settings.storage.dir / "published"
    left, foreign = published / f"{new_id('job')}-1", published / "backup-1"
    left.mkdir(parents=True)
    foreign.mkdir()
    told = json.loads(secateur("gc", "--json").stdout)
    assert told["files"] >= 1
    assert told["foreign"] == ["backup-1"]
    assert "left alone, since not the service's: 'backup-1'" in secateur("gc").stdout
    assert not left.exists()
    foreign.rmdir()
