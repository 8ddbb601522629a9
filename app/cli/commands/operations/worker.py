"""`secateur worker`: one worker process, in the place of this one."""

import os
from importlib.util import find_spec
from typing import Annotated

import typer

from app.cli.console import Exit, fail
from app.cli.service import DataDir
from app.cli.settings import broker_url, database_url, load_settings
from app.local.process import LocalError
from app.local.workers import worker_program


def worker(
    name: Annotated[
        str | None,
        typer.Option(help="What logs call it; by default worker-PID.", show_default=False),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class of this machine: it takes jobs from the queue secateur.CLASS alone.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="What `auto` is in a job: cpu, cuda or cuda:N.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run a worker, one job at a time, until Ctrl-C or SIGTERM.

    It works for the service that `secateur up` runs in the data directory, or for the database and
    the broker of SECATEUR_DATABASE__URL and SECATEUR_QUEUE__URL.
    """
    if missing := [each for each in ("workers", "torch") if find_spec(each) is None]:
        fail(f"worker_missing: no {missing[0]} here; pip install 'secateur[worker]'")
    settings = load_settings(data_dir, worker={"class_name": class_name, "device": device})
    try:
        urls = {
            "SECATEUR_DATABASE__URL": database_url(settings),
            "SECATEUR_QUEUE__URL": broker_url(settings),
        }
    except LocalError as error:
        fail(f"service_missing: {error}", Exit.USAGE)
    environment = settings.environment() | urls
    program = worker_program(environment, name or f"worker-{os.getpid()}")
    # Signals then reach Celery itself.
    os.execve(program.argv[0], [*program.argv], os.environ | environment)  # noqa: S606  no shell
