"""What a worker's child process owns, made when it starts and closed when it ends.

A runner for jobs, a helper for the measurements of other workers' jobs, a heartbeat of the worker,
and the line to its watchdog.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sqlalchemy import Engine

from app.db.engine import make_engine
from app.db.transactions import transact
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.queue import CeleryQueue
from app.services import workers
from app.settings import Settings
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.store import open_store
from app.telemetry import traces
from workers.pipeline.context import ModelAccess
from workers.pipeline.signing import Signer
from workers.pruning.models.layout.precision import set_precision
from workers.runtime.harnesses import harness_access
from workers.runtime.heartbeat import WorkerHeartbeat
from workers.runtime.machine import describe, disk_rate, gflops, versions
from workers.runtime.measurement import Helper
from workers.runtime.runner import Runner, process_name
from workers.runtime.watchdog.watch import Watch

_running: list[Runner] = []
_helping: list[Helper] = []
_heartbeats: list[WorkerHeartbeat] = []
_closing: list[Callable[[], None]] = []
_flushing: list[Callable[[], None]] = []


def start(settings: Settings, service: str, tasks: tuple[str, ...] = ()) -> None:
    """Make all of it; importing this module has imported torch.

    Args:
        settings: of the worker.
        service: its name, in traces.
        tasks: of evaluation harnesses, that it offers.

    Raises:
        Exception: something is missing that every job needs: the database, the store of artifacts,
            room for checkpoints, the device, the signing key that is set. What was made so far
            waits for `stop`.
    """
    _flushing.append(traces.configure(service, settings.telemetry.otlp_endpoint))
    set_precision(tf32=settings.worker.tf32)
    key = settings.worker.signing_key
    signer = Signer(settings.data_dir / key) if key else None
    store = open_store(settings.storage.dir, settings.storage.url, settings.storage.endpoint)
    store.check()
    settings.checkpoints.dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.database.url, pool_size=4)
    watch = Watch()
    _closing.append(watch.close)
    machine = _announce(engine, settings, tasks)
    _heartbeats.append(_heartbeat(engine, machine))
    models = ModelAccess(
        roots=settings.models.roots,
        hub_endpoint=settings.models.hub_endpoint,
        hub_cache=settings.models.hub_cache,
    )
    datasets = DatasetStore(settings.storage.dir).directory
    device = settings.worker.device
    _helping.append(
        Helper(
            engine=engine,
            models=models,
            datasets=datasets,
            device=device,
            name=process_name(),
            watch=watch,
        )
    )
    _running.append(
        Runner(
            engine=engine,
            store=store,
            models=models,
            device=device,
            datasets=datasets,
            checkpoints=CheckpointStore(settings.checkpoints.dir),
            checkpoint_bytes=settings.checkpoints.max_bytes,
            activation_bytes=settings.worker.activation_bytes,
            lease_seconds=settings.worker.lease_seconds,
            heartbeat_seconds=settings.worker.heartbeat_seconds,
            machine=machine,
            queue=CeleryQueue(settings.queue.url),
            watch=watch,
            signer=signer,
            harnesses=harness_access(settings),
        )
    )
    # The libraries' half a million objects stay; to look through them takes longer than a job.
    gc.freeze()


def _announce(engine: Engine, settings: Settings, tasks: tuple[str, ...]) -> Machine:
    """Measure the machine, if nobody of its class has lately, and tell what it can do."""
    worker = settings.worker
    found = describe(worker.class_name, worker.memory_bytes, worker.device, tasks)

    def measure(machine: Machine) -> Machine:
        rate = disk_rate(settings.storage.dir)
        return replace(machine, gflops=gflops(worker.device), disk_rate=rate)

    return transact(engine, partial(workers.announce, machine=found, measure=measure), seconds=0)


def _heartbeat(engine: Engine, machine: Machine) -> WorkerHeartbeat:
    """Tell that this process takes jobs, that it lives, and when it ends."""
    worker = NewWorker(process_name(), machine, versions())
    transact(engine, partial(workers.enter, worker=worker), seconds=0)
    return WorkerHeartbeat(
        lambda: transact(engine, partial(workers.alive, worker=worker)),
        lambda: transact(engine, partial(workers.leave, worker=worker), seconds=0),
    )


def runner() -> Runner:
    """The runner of this process."""
    return _running[0]


def helper() -> Helper:
    """The helper of this process."""
    return _helping[0]


def stop() -> None:
    """Close all of it, what a failed start has made too."""
    _helping.clear()
    while _heartbeats:
        _heartbeats.pop().close()
    while _running:
        _running.pop().close()
    while _closing:
        _closing.pop()()
    while _flushing:
        _flushing.pop()()
