"""`/metrics` of processes that serve no HTTP otherwise, and the counting of forked children."""

import os
import shutil
import tempfile
from collections.abc import Callable

from billiard import current_process
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector


def serve(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Answer Prometheus on a port, from a thread; returns what stops it. Port 0: do nothing."""
    if not port:
        return lambda: None
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def serve_children(host: str, port: int) -> Callable[[], None]:
    """As `serve`, for a process that forks the children which do the work.

    Children count in files that the parent reads, so that a count outlives the child. Files are
    named after the child's place in the pool: a child that replaces another counts on.
    """
    if not port:
        return lambda: None
    directory = tempfile.mkdtemp(prefix="secateur-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    values.ValueClass = values.MultiProcessValue(_place)  # type: ignore[no-untyped-call]  # as is
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]  # as is
    stop = serve(host, port, registry)

    def stop_and_remove() -> None:
        stop()
        shutil.rmtree(directory, ignore_errors=True)

    return stop_and_remove


def _place() -> str:
    return f"{getattr(current_process(), 'index', 'parent')}"
