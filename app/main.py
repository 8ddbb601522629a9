"""Composition root of the API: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from app.api import problems
from app.api.body_limit import BodyLimit
from app.api.deps import Resources, State, authenticated
from app.api.routers import archive, artifacts, datasets, health, hub, jobs, methods
from app.db.engine import make_engine
from app.queue import CeleryQueue
from app.settings import Settings
from app.storage.store import open_store


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over the given settings, or those of the environment."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        engine = make_engine(settings.database.url)
        queue = CeleryQueue(settings.queue.url)
        try:
            kept = settings.storage
            store = open_store(kept.dir, kept.url, kept.endpoint)
            yield {"resources": Resources(settings, engine, queue, store)}
        finally:
            queue.close()
            engine.dispose()

    app = FastAPI(
        title="Secateur",
        summary="Pruning as a service for vision-language models",
        version="1",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.api.max_body_bytes, streamed={datasets.PATH})
    problems.install(app)
    app.include_router(health.router)
    guarded = [Depends(authenticated)]
    for router in (
        methods.router,
        jobs.router,
        artifacts.router,
        archive.router,
        datasets.router,
        hub.router,
    ):
        app.include_router(router, dependencies=guarded)
    return app
