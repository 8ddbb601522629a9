"""Composition root of the API: `python -m app.main`."""

import asyncio
import math
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI

from app.api import event_stream, openapi, problems
from app.api.announcer import Announcer
from app.api.body_limit import BodyLimit
from app.api.deps import Resources, State
from app.api.feeds import Hub
from app.api.observed import QUIET, Observed
from app.api.rate_fields import RateFields
from app.api.routers import (
    archive,
    artifacts,
    datasets,
    events,
    health,
    hub,
    jobs,
    keys,
    methods,
    models,
    packed,
    plans,
    projects,
    publications,
    report,
    sweeps,
    webhooks,
    workers,
)
from app.db.engine import make_engine
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.server import Server
from app.services.submissions import Rules
from app.settings import Settings
from app.sources.outlines import Outlines
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore, open_store
from app.telemetry import logs, traces


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over the given settings, or those of the environment."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        engine = make_engine(settings.database.url)
        queue = CeleryQueue(settings.queue.url)
        rates = RateLimiter(settings.queue.url)
        announcer = Announcer(engine)
        hub = Hub(settings.database.url, event_stream.reader(engine))
        listening = asyncio.create_task(hub.run())
        try:
            kept = settings.storage
            store = open_store(kept.dir, kept.url, kept.endpoint, kept.public_endpoint)
            models = settings.models
            outlines = Outlines(models.roots, models.hub_endpoint, models.max_header_bytes)
            rules = _rules(settings, store, outlines)
            resources = Resources(settings, engine, queue, store, rates, hub, rules, announcer)
            yield {"resources": resources}
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            announcer.close()
            rates.close()
            queue.close()
            engine.dispose()

    app = FastAPI(
        title="Secateur",
        summary="Pruning as a service for vision-language models",
        version="1",
        lifespan=lifespan,
        # Spans where `traces` is configured: one a request, and none for what machines ask.
        telemetry={
            "operation_spans": False,
            "exclude": lambda scope: scope.get("path") in QUIET,
        },
    )
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.api.max_body_bytes,
        seconds=settings.api.body_seconds,
        streamed={datasets.PATH},
    )
    app.add_middleware(RateFields)
    app.add_middleware(Observed)
    problems.install(app)
    for module in (health, methods, jobs, events, artifacts, archive, datasets, keys, projects):
        app.include_router(module.router)
    for module in (packed, models, publications, report):
        app.include_router(module.router)
    # The hub's paths begin with names of any kind, so they are tried last.
    for module in (sweeps, plans, workers, webhooks, hub):
        app.include_router(module.router)
    openapi.install(app)
    return app


def _rules(settings: Settings, store: ArtifactStore, outlines: Outlines) -> Rules:
    return Rules(
        outlines=outlines,
        store=store,
        datasets=DatasetStore(settings.storage.dir),
        activation_bytes=settings.worker.activation_bytes,
        max_attempts=settings.worker.max_attempts,
        destinations=settings.publishing.destinations,
    )


def main() -> None:
    """Serve with the environment's settings until SIGTERM or SIGINT; then finish what has begun."""
    settings = Settings()
    telemetry, api = settings.telemetry, settings.api
    logs.configure("secateur-api", telemetry.log_format, telemetry.log_level)
    flush = traces.configure("secateur-api", telemetry.otlp_endpoint)
    # Drained, uvicorn sends itself the signal again: as Ctrl-C it ends `run`, not the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = uvicorn.Config(
        create_app(settings),
        host=api.host,
        port=api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(api.drain_seconds),
    )
    with suppress(KeyboardInterrupt):
        Server(config).run()
    flush()


if __name__ == "__main__":
    main()
