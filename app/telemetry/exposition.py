"""`/metrics` of processes that serve no HTTP otherwise, and the counting of forked children."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from billiard import current_process
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector


def _healthy() -> str:
    return ""


def serve(
    host: str,
    port: int,
    registry: CollectorRegistry = REGISTRY,
    problem: Callable[[], str] = _healthy,
) -> Callable[[], None]:
    """Answer Prometheus on a port, and probes at `/readyz`, from a thread.

    Args:
        host: address to listen on.
        port: the same; 0: do nothing.
        registry: what is counted.
        problem: why this process does not do its work; empty where it does.

    Returns:
        What stops it.
    """
    if not port:
        return lambda: None
    server, thread = start_http_server(port, addr=host, registry=registry)
    server.set_app(_with_readiness(make_wsgi_app(registry), problem))

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _with_readiness(metrics: WSGIApplication, problem: Callable[[], str]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return metrics(environ, start)
        found = problem()
        status = "503 Service Unavailable" if found else "200 OK"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [(found or "ready").encode() + b"\n"]

    return answer


def serve_children(
    host: str, port: int, problem: Callable[[], str] = _healthy
) -> Callable[[], None]:
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
    stop = serve(host, port, registry, problem)

    def stop_and_remove() -> None:
        stop()
        shutil.rmtree(directory, ignore_errors=True)

    return stop_and_remove


def _place() -> str:
    return f"{getattr(current_process(), 'index', 'parent')}"
