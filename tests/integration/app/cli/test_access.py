"""Keys and projects from the command line."""

import json

from app.db import workers
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.services import workers as services


def keys(secateur, secret):
    return json.loads(secateur("keys", "list", "--key", secret, "--json").stdout)


def test_a_secret_of_ones_own_becomes_a_key_once(secateur, tmp_path):
    file = tmp_path / "key"
    secret = "sct_" + "k" * 20 + "-_" + "9" * 20
    file.write_text(f"{secret}\n")
    first, again = (secateur("keys", "adopt", "deployment", file) for _ in range(2))
    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    assert first.stdout == "deployment is an API key now\n"
    assert again.stdout == "it is an API key already\n"
    [made] = [each for each in keys(secateur, secret) if each["name"] == "deployment"]
    assert made["scope"] == "admin"
    secateur("keys", "revoke", made["id"])
    secateur("keys", "adopt", "deployment", file)  # what was revoked stays revoked
    assert secateur("jobs", "--key", secret).exit_code == 3
    for weak in ("sct_short", "x" * 60):
        file.write_text(weak)
        refused = secateur("keys", "adopt", "deployment", file)
        assert refused.exit_code == 3
        assert "key_unusable" in refused.stderr
        assert weak not in refused.output


def test_a_project_is_made_and_its_keys_managed(secateur):
    made = secateur("projects", "create", "vision")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert "vision" in secateur("projects", "list").stdout
    project = json.loads(secateur("projects", "list", "--json").stdout)[0]["id"]
    assert "first" in secateur("keys", "list", "--key", secret).stdout
    arguments = ("--scope", "read", "--project", project)
    reader = secateur("keys", "create", "reader", *arguments).stdout.strip()
    assert secateur("jobs", "--key", reader).exit_code == 0
    key_id = keys(secateur, secret)[0]["id"]
    fresh = secateur("keys", "rotate", key_id, "--key", secret).stdout.strip()
    assert secateur("jobs", "--key", reader).exit_code == 3
    assert secateur("jobs", "--key", fresh).exit_code == 0
    key_id = keys(secateur, secret)[0]["id"]
    assert secateur("keys", "revoke", key_id, "--key", secret).stdout == f"{key_id} revoked\n"
    assert secateur("jobs", "--key", fresh).exit_code == 3


def test_what_is_wrong_is_told(secateur):
    assert secateur("projects", "create", "twice").exit_code == 0
    again = secateur("projects", "create", "twice")
    assert (again.exit_code, "project_exists" in again.stderr) == (3, True)
    nowhere = secateur("keys", "create", "x", "--project", "prj_none")
    assert (nowhere.exit_code, "project_not_found" in nowhere.stderr) == (3, True)


def test_workers_are_listed_one_by_one(secateur, engine):
    machine = Machine("cpu", 8 * 10**9, 2, "cpu", 0, None, 20.0, 1e8)
    with engine.begin() as connection:
        services.enter(connection, NewWorker("host:7", machine, {"torch": "2.13.0"}))
    shown = secateur("workers", "processes").stdout
    assert "host:7" in shown
    assert "idle" in shown
    assert "torch 2.13.0" in shown
    [told] = json.loads(secateur("workers", "processes", "--json").stdout)
    assert (told["name"], told["job_id"]) == ("host:7", None)


def test_worker_classes_are_listed_and_retired(secateur, engine):
    with engine.begin() as connection:
        workers.put(connection, Machine("old", 8 * 10**9, 2, "cpu", 0, None, 20.0, 1e8))
    assert "old" in secateur("workers", "list").stdout
    done = secateur("workers", "retire", "old").stdout
    assert done == "old retired; jobs moved: 0, failed: 0\n"
    assert json.loads(secateur("workers", "list", "--json").stdout) == []
    again = secateur("workers", "retire", "old")
    assert (again.exit_code, "worker_class_not_found" in again.stderr) == (3, True)


def test_who_has_no_key_is_told_how_to_give_one(secateur, house, monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    refused = secateur("jobs", "--url", f"{house.url}/v1")
    assert refused.exit_code == 3
    assert refused.stderr.startswith("api_key_missing: ")
    assert "--key or in SECATEUR_KEY" in refused.stderr
