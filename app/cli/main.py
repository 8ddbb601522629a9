"""Entry point of the `secateur` command."""

import typer

from app.cli.datasets import datasets
from app.cli.demo import demo
from app.cli.download import download
from app.cli.jobs import cancel, delete, events, jobs, methods, retry, show
from app.cli.keys import keys
from app.cli.models import models
from app.cli.ops import doctor, gc, migrate
from app.cli.projects import projects
from app.cli.reproduce import reproduce
from app.cli.submit import clone, plan, submit
from app.cli.sweep import sweep
from app.cli.up import up
from app.cli.watch import watch
from app.cli.webhooks import webhooks
from app.cli.workers import workers

app = typer.Typer(
    name="secateur",
    help="Pruning as a service for vision-language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
JOBS = (up, demo, plan, submit, watch, download, reproduce)
LOOKING = (jobs, show, events, cancel, retry, clone, delete, methods)
for command in (*JOBS, *LOOKING):
    app.command(rich_help_panel="Jobs")(command)
for command in (doctor, migrate, gc):
    app.command(rich_help_panel="Running the service")(command)
app.add_typer(sweep, name="sweep")
app.add_typer(datasets, name="datasets")
app.add_typer(models, name="models")
app.add_typer(webhooks, name="webhooks")
app.add_typer(keys, name="keys")
app.add_typer(projects, name="projects")
app.add_typer(workers, name="workers")
