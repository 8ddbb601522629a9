"""Composition root of a worker: `celery -A workers.runtime.celery_app worker --concurrency=1`.

The parent process receives messages and never imports torch: a child forked after torch has
computed hangs on its first matrix product. Each child imports torch once, when it starts, and
stays warm from job to job; it is replaced where it may be damaged, and after a number of jobs. No
message is taken before a child has started well.
"""

import atexit
import os

import psutil
from celery import Celery
from celery.signals import (
    setup_logging,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)
from celery.worker import WorkController
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.process import prepare
from app.queue import queue_of
from app.settings import Settings
from app.telemetry import exposition, logs
from workers.pipeline.tasks.offers import find_offers
from workers.runtime import messages
from workers.runtime.acknowledgement import Acknowledgement
from workers.runtime.harnesses import harness_access
from workers.runtime.inherited import release_sockets
from workers.runtime.starting import Gate, health, start_until_it_works
from workers.runtime.watchdog.unwatched import guard

SERVICE = "secateur-worker"

settings = Settings()
_offers: list[str] = []
# Read when a child first uses a GPU: blocks of any size come and go without tearing it to pieces.
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
messages.install()
celery = Celery(
    "secateur",
    broker=settings.queue.url,
    include=["workers.runtime.tasks"],
)
celery.conf.update(
    task_default_queue=queue_of(settings.worker.class_name),
    task_ignore_result=True,
    # One message at a time: the one being worked on is acknowledged when its job has ended, so
    # no job waits behind a busy worker while another idles. Redelivery is harmless.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    worker_max_tasks_per_child=settings.worker.max_jobs_per_child,
    # A child reports in once it has what it needs; until then it tries again, or it hangs.
    worker_proc_alive_timeout=300,
    # The broker may be away at any time; jobs wait in the database.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Nothing of ours asks workers over the broker, where anybody could tell them to shut down.
    worker_enable_remote_control=False,
)


celery.steps["consumer"].update({Acknowledgement, Gate, guard(settings.worker.kill_seconds)})


@setup_logging.connect  # type: ignore[untyped-decorator]  # celery has no types
def _configure_logging(**_: object) -> None:
    prepare(settings)
    logs.configure(SERVICE, settings.telemetry.log_format, settings.telemetry.log_level)


@worker_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def _listen_to_queues_alone(sender: WorkController, **_: object) -> None:
    """Hear and tell nothing of other workers: a broadcast can come from anybody."""
    sender.options |= dict.fromkeys(("without_gossip", "without_mingle", "without_heartbeat"), True)


@worker_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def _serve_metrics(**_: object) -> None:
    atexit.register(
        exposition.serve_children(
            settings.telemetry.metrics_host, settings.telemetry.metrics_port, health.problem
        )
    )


@worker_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def _find_tasks(**_: object) -> None:
    """Once, in the parent, as every child of it offers the same.

    It takes seconds, or minutes: probes are answered by then.
    """
    _offers.extend(find_offers(harness_access(settings)))


@task_prerun.connect  # type: ignore[untyped-decorator]  # celery has no types
def _name_task(task_id: str, **_: object) -> None:
    clear_contextvars()
    bind_contextvars(task_id=task_id)


@worker_process_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def _start_child(**_: object) -> None:
    release_sockets()
    start_until_it_works(_make_runner, _stop_child, health)


def _make_runner() -> None:
    from workers.runtime import child  # noqa: PLC0415 - torch belongs into the child only

    child.start(settings, SERVICE, tuple(_offers))


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # celery has no types
def _drain(**_: object) -> None:
    """Pass SIGTERM on: a job is given back, and a child that still imports torch may as well die.

    Celery itself would wait for both to end.
    """
    for process in psutil.Process().children():
        process.terminate()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # celery has no types
def _stop_child(**_: object) -> None:
    from workers.runtime import child  # noqa: PLC0415 - torch belongs into the child only

    child.stop()
