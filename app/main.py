"""Composition root of the API: `uvicorn app.main:create_app --factory`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from app.api import event_stream, openapi, problems
from app.api.body_limit import BodyLimit
from app.api.deps import Resources, State
from app.api.feeds import Hub
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
    packed,
    plans,
    projects,
    sweeps,
    webhooks,
)
from app.db.engine import make_engine
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.settings import Settings
from app.storage.store import open_store


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over the given settings, or those of the environment."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        engine = make_engine(settings.database.url)
        queue = CeleryQueue(settings.queue.url)
        rates = RateLimiter(settings.queue.url)
        hub = Hub(settings.database.url, event_stream.reader(engine))
        listening = asyncio.create_task(hub.run())
        try:
            kept = settings.storage
            store = open_store(kept.dir, kept.url, kept.endpoint)
            yield {"resources": Resources(settings, engine, queue, store, rates, hub)}
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            rates.close()
            queue.close()
            engine.dispose()

    app = FastAPI(
        title="Secateur",
        summary="Pruning as a service for vision-language models",
        version="1",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_body_bytes, streamed={datasets.PATH})
    app.add_middleware(RateFields)
    problems.install(app)
    for module in (health, methods, jobs, events, artifacts, archive, datasets, keys, projects):
        app.include_router(module.router)
    app.include_router(packed.router)
    # The hub's paths begin with names of any kind, so they are tried last.
    for module in (sweeps, plans, webhooks, hub):
        app.include_router(module.router)
    openapi.install(app)
    return app
