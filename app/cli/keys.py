"""`secateur keys`: API keys, made by whoever may open the database."""

from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.cli.console import Exit, fail, out
from app.cli.settings import DataDir, database_url, load_settings
from app.db.engine import make_engine
from app.services import keys as service

keys = typer.Typer(help="Manage API keys, directly in the database.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists.")],
    data_dir: DataDir = None,
) -> None:
    """Make an API key and show it, once."""
    settings = load_settings(data_dir)
    engine = make_engine(database_url(settings))
    try:
        with engine.begin() as connection:
            secret = service.create(connection, name)
    except (OperationalError, ProgrammingError) as error:
        fail(
            f"database_unavailable: {error.orig}\n"
            "Is `secateur up` running, or does SECATEUR_DATABASE__URL name a migrated database?",
            Exit.UNREACHABLE,
        )
    finally:
        engine.dispose()
    out.print(secret)


@keys.callback()
def _keys() -> None:
    """Keep `create` a subcommand while it is the only one."""
