"""Traces and ids: what joins a request, its job and every attempt.

OpenTelemetry is off unless an address to send spans to is configured. One trace joins the HTTP
request that submits a job, the relay that tells the broker, and every attempt of a worker with its
phases: the job's row carries the W3C trace context between them. Log lines carry the ids of the
request, the job and the attempt.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from structlog.contextvars import bound_contextvars

from app.ids import REQUEST_ID

tracer = trace.get_tracer("secateur")


def configure(service: str, endpoint: str) -> Callable[[], None]:
    """Send this process's spans to `endpoint`; returns what sends the last ones at the end.

    The SDK's own variables (OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
    OTEL_EXPORTER_OTLP_HEADERS, ...) hold as everywhere.

    Args:
        service: name of the process in traces.
        endpoint: where an OTLP receiver takes traces over HTTP; empty for no traces at all.
    """
    if not endpoint:
        return lambda: None
    # The SDK takes a moment to import, and most installations do without it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  see above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  see above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  see above

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def context_of(carrier: Mapping[str, str]) -> Context:
    """The trace context that a request, a message or a job's origin carries; empty if none."""
    return propagate.extract(carrier, context=Context())


@contextmanager
def working_on(job_id: str, attempt: int, origin: Mapping[str, str]) -> Iterator[None]:
    """Name the job, the attempt and the request behind them in every log line."""
    known = {REQUEST_ID: origin[REQUEST_ID]} if REQUEST_ID in origin else {}
    with bound_contextvars(job_id=job_id, attempt=attempt, **known):
        yield
