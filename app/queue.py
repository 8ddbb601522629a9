"""The broker: sends Celery messages by task name, so that nothing here imports the workers."""

from collections.abc import Mapping

from celery import Celery
from redis import Redis

TASK = "secateur.prune"
HELP = "secateur.help"


def queue_of(worker_class: str) -> str:
    """The queue that workers of a class listen on."""
    return f"secateur.{worker_class}"


class CeleryQueue:
    """Celery's queue on Redis or Valkey. Sending fails fast: the outbox tries again."""

    def __init__(self, url: str) -> None:
        timeouts = {"socket_connect_timeout": 2, "socket_timeout": 5}
        self._celery = Celery(broker=url, set_as_current=False)
        self._celery.conf.broker_transport_options = timeouts
        self._redis = Redis.from_url(url, **timeouts)

    def send(self, job_id: str, worker_class: str, headers: Mapping[str, str]) -> None:
        """Hand over the job's message; raises kombu's OperationalError when the broker is away.

        Args:
            job_id: what the message says.
            worker_class: whose queue it goes to.
            headers: its trace context.
        """
        self._celery.send_task(
            *(TASK, [job_id]),
            queue=queue_of(worker_class),
            headers=dict(headers),
            ignore_result=True,
            retry=False,
        )

    def call_for_help(self, job_id: str, worker_class: str) -> None:
        """Tell one more worker that the job has parts to take; raises as `send` does."""
        queue = queue_of(worker_class)
        self._celery.send_task(HELP, [job_id], queue=queue, ignore_result=True, retry=False)

    def depth(self, worker_class: str) -> int:
        """Messages that no worker has taken; kombu keeps a queue as a list of that name."""
        return self._redis.llen(queue_of(worker_class))

    def ping(self) -> None:
        """Raise redis' ConnectionError or TimeoutError when the broker does not answer."""
        self._redis.ping()

    def close(self) -> None:
        """Drop all connections."""
        self._celery.close()
        self._redis.close()
