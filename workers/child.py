"""What a worker's child process owns: one runner, made when the process starts."""

from collections.abc import Callable

from app.db.engine import make_engine
from app.settings import Settings
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store
from app.telemetry import traces
from workers.pipeline.context import ModelAccess
from workers.runner import Runner

_running: list[Runner] = []
_flushing: list[Callable[[], None]] = []


def start(settings: Settings, service: str) -> None:
    """Make the runner; importing this module has imported torch."""
    _flushing.append(traces.configure(service, settings.telemetry.otlp_endpoint))
    _running.append(
        Runner(
            engine=make_engine(settings.database.url, pool_size=2),
            store=open_store(settings.storage.dir, settings.storage.url, settings.storage.endpoint),
            models=ModelAccess(
                roots=settings.models.roots,
                hub_endpoint=settings.models.hub_endpoint,
                hub_cache=settings.models.hub_cache,
            ),
            datasets=DatasetStore(settings.storage.dir).directory,
            checkpoints=CheckpointStore(settings.checkpoints.dir),
            checkpoint_bytes=settings.checkpoints.max_bytes,
            activation_bytes=settings.worker.activation_bytes,
            lease_seconds=settings.worker.lease_seconds,
            heartbeat_seconds=settings.worker.heartbeat_seconds,
            drain_seconds=settings.worker.drain_seconds,
        )
    )


def runner() -> Runner:
    """The runner of this process."""
    return _running[0]


def stop() -> None:
    """Close what the runner holds."""
    while _running:
        _running.pop().close()
    while _flushing:
        _flushing.pop()()
