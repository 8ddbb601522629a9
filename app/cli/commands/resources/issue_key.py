"""The key that `secateur keys create` makes, written to the database itself."""

from pathlib import Path

from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.cli.console import Exit, fail
from app.cli.settings import load_settings, some_database_url
from app.db.engine import make_engine
from app.domain.projects import Key, Scope
from app.services.projects import service as projects


def issue_key(name: str, *, scope: str, project: str, data_dir: Path | None) -> tuple[Key, str]:
    """Make an API key; returns its secret too. What is wrong is said and ends the command."""
    engine = make_engine(some_database_url(load_settings(data_dir)))
    try:
        with engine.begin() as connection:
            made, secret = projects.issue_key(
                connection, name, project_id=project, scope=Scope(scope)
            )
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
    return made, secret
