"""Composition root of the API: `python -m app.main`."""

import asyncio
import ctypes
import math
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from operator import attrgetter

import uvicorn
from fastapi import FastAPI

from app.api.artifacts import router as artifacts
from app.api.datasets import router as datasets
from app.api.document import openapi
from app.api.document import router as documentation
from app.api.events import router as events
from app.api.health import router as health
from app.api.http import problems
from app.api.http.endpoints import Breaker, Resources, State
from app.api.http.feeds import Hub
from app.api.http.middleware import QUIET, Admission, BodyLimit, Observed
from app.api.http.readiness import Probes
from app.api.http.turns import Turns
from app.api.hub import router as hub
from app.api.jobs import router as jobs
from app.api.methods import router as methods
from app.api.models import router as models
from app.api.plans import router as plans
from app.api.projects import router as projects
from app.api.reports import router as reports
from app.api.sweeps import router as sweeps
from app.api.webhooks import router as webhooks
from app.api.workers import router as workers
from app.console.routes import ROUTERS as PAGES
from app.console.routes.datasets import DATASETS as UPLOADS
from app.console.sessions import Sessions, signing_key
from app.db.engine import make_engine
from app.db.outbox import Announcer
from app.domain.tokens import ClaimRules
from app.oidc.issuer import Issuer
from app.oidc.sign_in import SignIn
from app.oidc.verifier import Verifier
from app.planning.model_files.outlines import Outlines
from app.process import prepare
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.server import ClientConnection, Patience, Server
from app.services.jobs.submit import Rules
from app.settings import Settings
from app.settings.oidc import Oidc
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore, open_store
from app.telemetry import logs, traces

MOST_FILES = 65536
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # of malloc.h


class Opened(State):
    """What requests of the API and of the console find."""

    sessions: Sessions
    sign_in: SignIn | None


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over the given settings, or those of the environment."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Opened]:
        console = settings.console
        sessions = Sessions(signing_key(console.signing_key), console.session_seconds)
        database = settings.database
        engine = make_engine(database.url, answer_seconds=database.answer_seconds)
        probing = make_engine(database.url, pool_size=3, answer_seconds=3)
        queue = CeleryQueue(settings.queue.url)
        rates = RateLimiter(settings.queue.url)
        announcer = Announcer(engine)
        hub = Hub(settings.database.url, events.reader(engine))
        listening = asyncio.create_task(hub.run())
        ending = AsyncExitStack()
        try:
            kept = settings.storage
            store = open_store(kept.dir, kept.url, kept.endpoint, kept.public_endpoint)
            models = settings.models
            outlines = Outlines(models.roots, models.hub_endpoint, models.max_header_bytes)
            rules = _rules(settings, store, outlines)
            probes = Probes(probing, queue, store)
            telemetry = settings.telemetry
            stop = health.serve(telemetry.metrics_host, telemetry.metrics_port, probes)
            ending.push_async_callback(asyncio.to_thread, stop)
            resources = Resources(
                settings=settings,
                engine=engine,
                queue=queue,
                store=store,
                rates=rates,
                hub=hub,
                rules=rules,
                announcer=announcer,
                breaker=Breaker(),
                probes=probes,
                uploads=Turns(),
                verifier=await _verifier(settings.oidc, ending),
            )
            signing_in = _sign_in(settings.oidc, resources.verifier)
            yield {"resources": resources, "sessions": sessions, "sign_in": signing_in}
        finally:
            await ending.aclose()
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            announcer.close()
            rates.close()
            queue.close()
            probing.dispose()
            engine.dispose()

    app = FastAPI(
        title="Secateur",
        summary="Pruning as a service for vision-language models",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        generate_unique_id_function=attrgetter("name"),  # the operation id: the endpoint's function
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
        streamed={datasets.PATH, UPLOADS},
    )
    app.add_middleware(Admission, most=settings.api.max_connections)
    app.add_middleware(Observed)
    problems.install(app)
    routers = (
        *(jobs.router, health.router, methods.router, events.router),  # the busiest are tried first
        *(artifacts.router, artifacts.archive_router, datasets.router),
        *(projects.key_router, projects.router, documentation.router),
        *(artifacts.packed_router, models.router, models.publication_router, reports.router),
        *(models.local_router, sweeps.router, plans.router, workers.router, webhooks.router),
        *PAGES,
        hub.router,  # its paths begin with names of any kind, so they are tried last
    )
    for router in routers:
        app.include_router(router)
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


async def _verifier(oidc: Oidc, ending: AsyncExitStack) -> Verifier | None:
    if not oidc.issuer:
        return None
    return Verifier(
        issuer=await ending.enter_async_context(Issuer(oidc.issuer, oidc.deadline_seconds)),
        audience=oidc.audience,
        algorithms=oidc.algorithms,
        clients=oidc.accepted_clients,
        leeway=oidc.leeway_seconds,
        rules=ClaimRules(oidc.project_claim, oidc.projects, oidc.scope_claim, oidc.scopes),
    )


def _sign_in(oidc: Oidc, verifier: Verifier | None) -> SignIn | None:
    if verifier is None or not oidc.client_id:
        return None
    return SignIn(
        verifier,
        oidc.client_id,
        oidc.client_secret.get_secret_value(),
        scope=oidc.sign_in_scope,
        parameters=oidc.sign_in_parameters,
        seconds=oidc.session_seconds,
    )


def make_server(settings: Settings) -> Server:
    """What serves the API with these settings."""
    api = settings.api
    patience = Patience(api.max_connections, api.head_seconds, api.write_seconds)
    config = uvicorn.Config(
        create_app(settings),
        host=api.host,
        port=api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=partial(ClientConnection, patience),  # type: ignore[arg-type]  # any factory does
        timeout_keep_alive=math.ceil(api.idle_seconds),
        timeout_graceful_shutdown=math.ceil(api.drain_seconds),
    )
    return Server(config)


def main() -> None:
    """Serve with the environment's settings until SIGTERM or SIGINT; then finish what has begun."""
    settings = Settings()
    prepare(settings)
    telemetry = settings.telemetry
    logs.configure("secateur-api", telemetry.log_format, telemetry.log_level)
    flush = traces.configure("secateur-api", telemetry.otlp_endpoint)
    _allow_many_files()
    _return_memory()
    # Drained, uvicorn sends itself the signal again: as Ctrl-C it ends `run`, not the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        make_server(settings).run()
    flush()


def _return_memory() -> None:
    """Have glibc give back what many requests at a time took; otherwise each thread keeps a heap.

    The threshold is the default, which no longer grows with the buffers that are freed.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, 128 << 10)


def _allow_many_files() -> None:
    """Take what the system allows: 1024, the usual default, is about what connections need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MOST_FILES), most))


if __name__ == "__main__":
    main()
