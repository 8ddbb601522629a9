"""Entry point of the `secateur` command: what it offers, and where each command is."""

from typing import Annotated, ClassVar

import typer

from app.cli.lazy_group import Entry, LazyGroup

JOBS = "Jobs"
OPERATIONS = "Running the service"


class Commands(LazyGroup):
    """All commands of `secateur`. Each line of help is the first of the command's own."""

    entries: ClassVar = {
        "up": Entry(
            "app.cli.commands.operations.up:up",
            "Run the whole service on this machine until Ctrl-C.",
            JOBS,
        ),
        "demo": Entry(
            "app.cli.demo:demo",
            "Prune a sentence encoder and a vision-language model, and compare what is left of "
            "them.",
            JOBS,
        ),
        "plan": Entry(
            "app.cli.commands.jobs.submit:plan",
            "Tell what a job would do, without queueing it; refused whenever the job would be.",
            JOBS,
        ),
        "submit": Entry(
            "app.cli.commands.jobs.submit:submit", "Queue a pruning job and print its id.", JOBS
        ),
        "watch": Entry(
            "app.cli.commands.jobs.watch:watch",
            "Follow a job until it has ended; exit code 1 unless it has succeeded.",
            JOBS,
        ),
        "download": Entry(
            "app.cli.commands.jobs.download:download", "Download the files of a finished job.", JOBS
        ),
        "report": Entry(
            "app.cli.commands.jobs.report:report",
            "Save the report of a job as a page, and print where.",
            JOBS,
        ),
        "reproduce": Entry(
            "app.cli.commands.jobs.reproduce:reproduce",
            "Run a job again as its manifest tells, and compare the SHA-256 of every file.",
            JOBS,
        ),
        "jobs": Entry("app.cli.commands.jobs.jobs:jobs", "List jobs, newest first.", JOBS),
        "show": Entry("app.cli.commands.jobs.jobs:show", "Show one job.", JOBS),
        "events": Entry(
            "app.cli.commands.jobs.jobs:events", "Print a job's event log, oldest first.", JOBS
        ),
        "cancel": Entry(
            "app.cli.commands.jobs.jobs:cancel",
            "Stop a job: at once while it is queued, at the next block while it runs.",
            JOBS,
        ),
        "retry": Entry(
            "app.cli.commands.jobs.jobs:retry",
            "Submit a failed or cancelled job again, as a new job.",
            JOBS,
        ),
        "clone": Entry(
            "app.cli.commands.jobs.submit:clone",
            "Submit a job's request again, with changes, and print the new id.",
            JOBS,
        ),
        "delete": Entry(
            "app.cli.commands.jobs.jobs:delete",
            "Remove an ended job with its events and files.",
            JOBS,
        ),
        "methods": Entry(
            "app.cli.commands.jobs.jobs:methods",
            "List the pruning methods with what each is made of.",
            JOBS,
        ),
        "worker": Entry(
            "app.cli.commands.operations.worker:worker",
            "Run a worker, one job at a time, until Ctrl-C or SIGTERM.",
            OPERATIONS,
        ),
        "doctor": Entry(
            "app.cli.commands.operations.doctor:doctor",
            "Look at all that the service needs on this machine; exit code 1 where something is "
            "wrong.",
            OPERATIONS,
        ),
        "migrate": Entry(
            "app.cli.commands.operations.ops:migrate",
            "Bring the database to the newest schema; safe to run by several at once, and again.",
            OPERATIONS,
        ),
        "gc": Entry(
            "app.cli.commands.operations.ops:gc",
            "Discard files that belong to no job any more, as maintenance does every ten minutes.",
            OPERATIONS,
        ),
        "sweep": Entry(
            "app.cli.commands.resources.sweep:sweep",
            "Try methods at sparsities on one model, and compare.",
        ),
        "datasets": Entry(
            "app.cli.commands.resources.datasets:datasets", "Upload, list and remove data sets."
        ),
        "models": Entry(
            "app.cli.commands.resources.models:models", "List models, and name finished jobs."
        ),
        "webhooks": Entry(
            "app.cli.commands.resources.webhooks:webhooks", "Manage webhook endpoints."
        ),
        "keys": Entry("app.cli.commands.resources.keys:keys", "Manage API keys."),
        "projects": Entry(
            "app.cli.commands.resources.projects:projects",
            "Manage projects, with an admin key of the first.",
        ),
        "workers": Entry(
            "app.cli.commands.resources.workers:workers", "Look at workers; retire classes."
        ),
    }


app = typer.Typer(
    name="secateur",
    cls=Commands,
    help="Pruning as a service for vision-language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  no command needs it

        typer.echo(f"secateur {version('secateur')}")
        raise typer.Exit


@app.callback()
def secateur(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Pruning as a service for vision-language models."""
