"""Settings as the command line sees them: the environment, overridden by options."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.cli.console import Exit, fail
from app.local.installation import DATABASE, broker_file
from app.local.postgres import Postgres
from app.local.process import LocalError
from app.messages import in_words
from app.settings import Settings


def load_settings(data_dir: Path | None = None, **sections: dict[str, Any]) -> Settings:
    """The settings, with what options say (None: nothing) above the environment.

    A wrong value ends the command with its name and what is accepted.
    """
    given: Any = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in sections.items()
    }
    if data_dir is not None:
        given["data_dir"] = data_dir
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [
            f"SECATEUR_{'__'.join(str(part) for part in issue['loc'])}".upper()
            + f" {in_words(issue)}"
            for issue in error.errors()
        ]
        fail("\n".join(wrong), Exit.USAGE)


def database_url(settings: Settings) -> str:
    """The database of the settings, or the one that `secateur up` runs in the data directory.

    Raises:
        LocalError: none is named, and none can be run here.
    """
    if "url" in settings.database.model_fields_set:
        return settings.database.url
    return Postgres(settings.data_dir).url(DATABASE)


def some_database_url(settings: Settings) -> str:
    """As `database_url`; where there is none, that is said and the command ends."""
    try:
        return database_url(settings)
    except LocalError as error:
        fail(f"{error}\nOr name a database in SECATEUR_DATABASE__URL.", Exit.USAGE)


def broker_url(settings: Settings) -> str:
    """The broker of the settings, or the one that `secateur up` runs in the data directory.

    Raises:
        LocalError: none is named, and none runs here.
    """
    if "url" in settings.queue.model_fields_set:
        return settings.queue.url
    try:
        return broker_file(settings.data_dir).read_text().strip()
    except FileNotFoundError as error:
        raise LocalError(
            f"no `secateur up` runs in {settings.data_dir}; start one, or name a broker in "
            "SECATEUR_QUEUE__URL"
        ) from error
