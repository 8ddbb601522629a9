"""Keys that `secateur keys create` and `adopt` write to the database themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.cli.console import Exit, fail
from app.cli.settings import load_settings, some_database_url
from app.db.engine import make_engine
from app.domain.projects import Key, Scope
from app.services.projects import service as projects

T = TypeVar("T")


def issue_key(name: str, *, scope: str, project: str, data_dir: Path | None) -> tuple[Key, str]:
    """Make an API key; returns its secret too. What is wrong is said and ends the command."""
    return _written(
        lambda connection: projects.issue_key(
            connection, name, project_id=project, scope=Scope(scope)
        ),
        project,
        data_dir,
    )


def adopt_key(name: str, file: Path, *, scope: str, project: str) -> str | None:
    """Make the secret in a file an API key; its id, or None where it is one already."""
    try:
        secret = file.read_text().strip()
        return _written(
            lambda connection: projects.adopt_key(
                connection, name, secret, project_id=project, scope=Scope(scope)
            ),
            project,
            None,
        )
    except (OSError, ValueError) as error:
        fail(f"key_unusable: {error}", Exit.REFUSED)


def _written(write: Callable[[Connection], T], project: str, data_dir: Path | None) -> T:
    engine = make_engine(some_database_url(load_settings(data_dir)))
    try:
        with engine.begin() as connection:
            return write(connection)
    except IntegrityError:
        fail(f"project_not_found: there is no project {project!r}", Exit.REFUSED)
    except (OperationalError, ProgrammingError) as error:
        fail(
            f"database_unavailable: {error.orig}\n"
            "Is `secateur up` running, or does SECATEUR_DATABASE__URL name a migrated database?",
            Exit.UNREACHABLE,
        )
    finally:
        engine.dispose()
