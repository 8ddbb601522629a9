"""Entry point of the `secateur` command."""

import typer

from app.cli.demo import demo
from app.cli.download import download
from app.cli.jobs import cancel, events, jobs, methods, retry, show
from app.cli.keys import keys
from app.cli.ops import doctor, gc, migrate
from app.cli.projects import projects
from app.cli.reproduce import reproduce
from app.cli.submit import submit
from app.cli.up import up
from app.cli.watch import watch
from app.cli.workers import workers

app = typer.Typer(
    name="secateur",
    help="Pruning as a service for vision-language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
JOBS = (up, demo, submit, watch, download, reproduce, jobs, show, events, cancel, retry, methods)
for command in JOBS:
    app.command(rich_help_panel="Jobs")(command)
for command in (doctor, migrate, gc):
    app.command(rich_help_panel="Running the service")(command)
app.add_typer(keys, name="keys")
app.add_typer(projects, name="projects")
app.add_typer(workers, name="workers")
