"""`secateur watch`: follow a job to its end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from app.cli.client import AsJson, Client, Json, Key, Url, connected, follow
from app.cli.console import Exit, err, out


def watch(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Follow a job until it has ended; exit code 1 unless it has succeeded."""
    with connected(url, key) as client:
        report(watch_to_end(client, job), as_json=as_json)


def watch_to_end(client: Client, job_id: str, pause: Callable[[float], None] = time.sleep) -> Json:
    """Show a bar per phase while the job runs; returns the ended job."""
    client.job(job_id)  # an unknown job is refused before anything is drawn
    with _phase_bars() as show:
        for job in follow(client, job_id, pause=pause):
            show(job)
    return job


def report(job: Json, *, as_json: bool) -> None:
    """Say how the job ended, and end the command if it did not succeed."""
    if as_json:
        out.print_json(data=job)
    elif job["status"] == "succeeded":
        result = job["result"]
        out.print(f"{job['id']} succeeded: {_outcome(result)}, {result['seconds']:.1f} s")
    elif job["error"]:
        err.print(f"{job['error']['code']}: {job['error']['message']}", style="red")
    else:
        err.print(f"{job['id']} was {job['status']}")
    if job["status"] != "succeeded":
        raise typer.Exit(Exit.FAILED)


def _outcome(result: Json) -> str:
    if "routing" in result:
        return f"prefill at {result['routing']['flops_ratio']:.0%} of the dense operations"
    return f"sparsity {result['sparsity']:.4f}"


@contextmanager
def _phase_bars() -> Iterator[Callable[[Json], None]]:
    """A row per phase; the last one shows how much of the whole job is done."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err) as bars:
        rows: dict[str, TaskID] = {}

        def show(job: Json) -> None:
            phase = job["phase"] if job["status"] == "running" and job["phase"] else job["status"]
            if phase not in rows:
                for row in rows.values():
                    bars.update(row, completed=1)
                rows[phase] = bars.add_task(phase, total=1)
            ended = job["finished_at"] is not None
            bars.update(rows[phase], completed=1 if ended else min(job["progress"], 0.99))

        yield show
