"""`secateur watch`: follow a job to its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from app.cli.bars import bar_text
from app.cli.client import AsJson, Client, Json, Key, UnreachableError, Url, connected, follow
from app.cli.console import Exit, err, interruptible, out
from app.cli.lazy_group import JobId


def watch(
    job: JobId,
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
    seen = 0
    advice = (
        f"{job_id} runs on. `secateur watch {job_id}` follows it again, "
        f"`secateur cancel {job_id}` stops it."
    )
    with interruptible(advice), _phase_bars() as bars:
        for job in follow(client, job_id, pause=pause):
            log = _news(client, job_id, seen)
            seen = log[-1]["id"] if log else seen
            bars.show(job, log)
    return job


def _news(client: Client, job_id: str, seen: int) -> list[Json]:
    """What happened since; the bars do without where the service is away for a moment."""
    try:
        return client.events_after(job_id, seen)
    except UnreachableError:
        return []


def report(job: Json, *, as_json: bool, told: Console = out) -> None:
    """Say how the job ended, in words to `told`, and end the command if it did not succeed."""
    if as_json:
        out.print_json(data=job)
    elif job["status"] == "succeeded":
        result = job["result"]
        told.print(f"{job['id']} succeeded: {outcome(result)}, {result['seconds']:.1f} s")
    elif job["error"]:
        err.print(f"{job['error']['code']}: {job['error']['message']}", style="red")
    else:
        err.print(f"{job['id']} was {job['status']}")
    if job["status"] != "succeeded":
        raise typer.Exit(Exit.FAILED)


def outcome(result: Json) -> str:
    """What a job came to, in one line."""
    if "routing" in result:
        return f"prefill at {result['routing']['flops_ratio']:.0%} of the dense operations"
    if (smaller := result.get("structure")) and not result["weights"]:
        left, before = smaller["parameters_kept"], smaller["parameters"]
        return f"{left:,} of {before:,} parameters are left ({left / before:.1%})"
    if result.get("reached") is None:
        return f"sparsity {result['sparsity']:.4f}"
    return (
        f"sparsity {result['sparsity']:.4f} in {result['reached']:.1%} of the model, "
        f"{result['model_sparsity']:.4f} of the whole"
    )


class _Bars:
    """A row for the whole job, and one per phase: pruning counts its blocks."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._job = bars.add_task("job", total=1, what="")
        self._rows: dict[str, TaskID] = {}
        self._phase = ""

    def show(self, job: Json, log: Sequence[Json]) -> None:
        for event in log:
            if event["type"] == "phase":
                self._enter(event["message"])
            elif event["type"] == "block":
                self._count(event["data"])
        ended = job["finished_at"] is not None
        phase = "" if ended else job["phase"] or ""
        if phase != self._phase:
            self._enter(phase)
        done = 1 if ended else min(job["progress"], 0.99)
        self._bars.update(self._job, completed=done, what=job["status"])

    def _enter(self, phase: str) -> None:
        if row := self._rows.get(self._phase):
            self._bars.update(row, total=1, completed=1, what="")
            self._bars.stop_task(row)
        self._phase = phase
        if phase and phase not in self._rows:
            self._rows[phase] = self._bars.add_task(phase, total=None, what="")

    def _count(self, block: Json) -> None:
        if row := self._rows.get(self._phase):
            what = f"{block['done']}/{block['total']} {block['block']}"
            self._bars.update(row, total=block["total"], completed=block["done"], what=what)


@contextmanager
def _phase_bars() -> Iterator[_Bars]:
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn())
    what = bar_text("{task.fields[what]}")
    with Progress(*columns, TimeElapsedColumn(), what, console=err) as bars:
        yield _Bars(bars)
