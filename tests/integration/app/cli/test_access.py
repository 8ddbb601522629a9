"""Keys and projects from the command line."""

import json

from app.db import workers
from app.planning.machines import Machine


def keys(secateur, secret):
    return json.loads(secateur("keys", "list", "--key", secret, "--json").stdout)


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


def test_worker_classes_are_listed_and_retired(secateur, engine):
    with engine.begin() as connection:
        workers.put(connection, Machine("old", 8 * 10**9, 2, "cpu", 0, None, 20.0, 1e8))
    assert "old" in secateur("workers", "list").stdout
    done = secateur("workers", "retire", "old").stdout
    assert done == "old retired; jobs moved: 0, failed: 0\n"
    assert json.loads(secateur("workers", "list", "--json").stdout) == []
    again = secateur("workers", "retire", "old")
    assert (again.exit_code, "worker_class_not_found" in again.stderr) == (3, True)
