import ast
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.db import migrate
from app.domain.projects import DEFAULT_PROJECT

JOB = text(
    "INSERT INTO jobs (id, project_id, max_attempts, spec) VALUES (:id, :project_id, 1, '{}')"
)


def add_job(connection, job_id):
    connection.execute(JOB, {"id": job_id, "project_id": DEFAULT_PROJECT})


def wait_for(engine, condition):
    """Until there is such a connection."""
    query = text(f"SELECT count(*) FROM pg_stat_activity WHERE {condition} AND state IS NOT NULL")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(query):
            time.sleep(0.05)


def test_models_and_migrations_agree(database_url):
    command.check(migrate.alembic_config(database_url))


def test_every_migration_can_be_undone_and_redone(database_url, engine):
    config = migrate.alembic_config(database_url)
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert not migrate.is_migrated(connection)
    migrate.upgrade(database_url)
    with engine.connect() as connection:
        assert migrate.is_migrated(connection)


def test_indexes_are_built_while_the_table_is_written_to(database_url, engine):
    """A long transaction has written to the table: the index waits for it, and nobody else does."""
    config = migrate.alembic_config(database_url)
    command.downgrade(config, "0019")
    with ThreadPoolExecutor(1) as pool, engine.begin() as long:
        add_job(long, "job_long")
        upgrade = pool.submit(migrate.upgrade, database_url)
        wait_for(engine, "query ~ '^CREATE INDEX'")
        with engine.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            add_job(other, "job_other")
        assert not upgrade.done()
        long.commit()
        upgrade.result(60)
    command.check(config)


def test_an_index_that_was_broken_off_is_built_anew(database_url, engine):
    config = migrate.alembic_config(database_url)
    command.downgrade(config, "0019")
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_jobs_unfinished ON jobs (id)"))
        connection.execute(
            text(
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'ix_jobs_unfinished'::regclass"
            )
        )
    migrate.upgrade(database_url)
    command.check(config)
    with engine.connect() as connection:
        invalid = text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert connection.scalar(invalid) == 0


def test_processes_that_start_together_upgrade_one_after_the_other(database_url, engine):
    """The one that waits is no transaction that the index of the other waits for."""
    config = migrate.alembic_config(database_url)
    command.downgrade(config, "0019")
    program = "import sys; from app.db import migrate; migrate.upgrade(sys.argv[1])"
    argv = [sys.executable, "-c", program, database_url]

    def start(name):
        surroundings = os.environ | {"PGAPPNAME": name}
        return subprocess.Popen(argv, env=surroundings, stderr=subprocess.PIPE, text=True)

    with engine.begin() as long:
        add_job(long, "job_long")
        first = start("first")
        wait_for(engine, "query ~ '^CREATE INDEX'")
        second = start("second")
        wait_for(engine, "application_name = 'second'")
    for each in (first, second):
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    command.check(config)


# Since then they are built and dropped by `app.db.indexes`.
CONCURRENT = "0017"
LOCKS = {"create_index", "drop_index", "create_unique_constraint", "create_exclude_constraint"}


def scripts():
    found = ScriptDirectory(str(migrate.SCRIPTS)).walk_revisions()
    return [Path(each.path) for each in found if each.revision >= CONCURRENT]


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_no_migration_locks_a_table_while_it_builds_an_index(path):
    """`op.create_index` is for tables that the migration has made itself."""
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of_alembic = [each for each in calls if ast.unparse(each.func).startswith("op.")]
    made = {each.args[0].value for each in of_alembic if each.func.attr == "create_table"}
    for call in of_alembic:
        if call.func.attr in LOCKS:
            table = {each.arg: each.value for each in call.keywords}.get("table_name")
            assert (table or call.args[1]).value in made, (
                f"line {call.lineno} locks a table that is in use"
            )
    assert "CREATE INDEX" not in path.read_text().upper()
    concurrent = [each for each in calls if ast.unparse(each.func) == "create_index"]
    assert not (concurrent and of_alembic), "a migration that builds indexes does nothing else"
