"""`secateur migrate`, `gc`: for whoever runs the service, on the machine that runs it."""

from sqlalchemy.exc import SQLAlchemyError

from app.cli.client import AsJson
from app.cli.console import Exit, fail, tell
from app.cli.service import DataDir
from app.cli.settings import load_settings, some_database_url
from app.db import quarantine
from app.db.engine import make_engine
from app.domain.quarantine import Loop
from app.errors import StorageUnavailableError
from app.services.jobs.garbage_collection import (
    discard_abandoned,
    sweep_checkpoints,
    sweep_datasets,
)
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store


def migrate(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the database to the newest schema; safe to run by several at once, and again."""
    # Alembic takes a second to import.
    from app.db import migrate as migrations  # noqa: PLC0415  see above

    url = some_database_url(load_settings(data_dir))
    try:
        migrations.upgrade(url)
    except SQLAlchemyError as error:
        fail(f"database_unavailable: {error}", Exit.UNREACHABLE)
    tell({"migrated": True}, "the database is at the newest schema", as_json=as_json)


def gc(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Discard files that belong to no job any more, as maintenance does every ten minutes."""
    settings = load_settings(data_dir)
    kept = settings.storage
    engine = make_engine(some_database_url(settings))
    try:
        guard = Guard(engine)
        store = open_store(kept.dir, kept.url, kept.endpoint)
        found = store.attempts()
        files = discard_abandoned(guard, store, found)
        checkpoints = CheckpointStore(settings.checkpoints.dir)
        jobs = checkpoints.jobs()
        ended = sweep_checkpoints(guard, checkpoints, jobs)
        datasets = DatasetStore(kept.dir)
        sets = datasets.stored()
        deleted = sweep_datasets(guard, datasets, sets)
        with engine.connect() as connection:
            aside = quarantine.counts(connection)
    except (SQLAlchemyError, StorageUnavailableError) as error:
        fail(f"nothing_done: {error}", Exit.UNREACHABLE)
    finally:
        engine.dispose()
    foreign = sorted(found.foreign | jobs.foreign | sets.foreign)
    failed = sum(aside.get(loop, 0) for loop in (Loop.FILES, Loop.CHECKPOINTS, Loop.DATASETS))
    counted = {"files": files, "checkpoints": ended, "datasets": deleted}
    done = f"discarded the files of {files} attempts, the checkpoints of {ended} jobs"
    words = [f"{done}, {deleted} deleted data sets"]
    if failed:
        words.append(f"{failed} cannot be discarded; `secateur doctor` has the reasons")
    if foreign:
        words.append(f"left alone, since not the service's: {', '.join(map(repr, foreign))}")
    tell(counted | {"failed": failed, "foreign": foreign}, "\n".join(words), as_json=as_json)
