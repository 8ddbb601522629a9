"""All pages, one module a noun."""

from app.console import static
from app.console.routes import (
    datasets,
    job,
    jobs,
    models,
    new_job,
    new_sweep,
    project,
    sign_in,
    sweeps,
    webhooks,
    workers,
)

MODULES = (
    static,
    sign_in,
    jobs,
    job,
    new_job,
    new_sweep,
    sweeps,
    datasets,
    models,
    webhooks,
    workers,
    project,
)
ROUTERS = tuple(module.router for module in MODULES)
