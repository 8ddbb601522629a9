"""A worker whose acknowledgement did not reach the broker connects anew.

Celery logs such an error and goes on. The message then counts as being worked on for ever, and as a
worker takes one at a time, it takes no other and looks at no socket: nothing tells it that the
connection is gone.
"""

from celery import bootsteps
from celery.worker.consumer import Consumer
from kombu.asynchronous import Hub

_LOOK = 1.0  # seconds between two looks


class Acknowledgement(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Notes a failure where it happens, and raises it where Celery's loop connects anew."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Consumer, **options: object) -> None:
        super().__init__(parent, **options)
        self._failure: Exception | None = None

    def start(self, consumer: Consumer) -> None:
        """Listen to the acknowledgements of a new connection."""
        self._failure = None
        qos = consumer.task_consumer.channel.qos
        acknowledge = qos.ack

        def noted(delivery_tag: str) -> None:
            try:
                acknowledge(delivery_tag)
            except consumer.connection_errors as failure:
                self._failure = failure
                raise

        qos.ack = noted

    def register_with_event_loop(self, _consumer: Consumer, hub: Hub) -> None:
        """Begin to look."""
        hub.call_repeatedly(_LOOK, self._look)  # type: ignore[no-untyped-call]  # as is

    def _look(self) -> None:
        if self._failure is not None:
            raise self._failure
