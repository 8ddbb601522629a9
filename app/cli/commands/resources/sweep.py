"""`secateur sweep`: several methods at several sparsities, side by side."""

import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from app.cli.bars import bar_text
from app.cli.client import TERMINAL, AsJson, Client, Json, Key, Url, connected
from app.cli.console import Exit, err, fail, interruptible, out, show_table, table, tell
from app.cli.requests.job import Asked, given
from app.cli.requests.shared_options import with_options_of
from app.cli.requests.sweep import sweep_request


class _Sweeps(TyperGroup):
    """`sweep --param ...` is `sweep submit --param ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever; options without a command are those of submit."""
        short = args and args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)
        return super().parse_args(ctx, ["submit", *args] if short else args)


sweep = typer.Typer(
    cls=_Sweeps, help="Try methods at sparsities on one model, and compare.", no_args_is_help=True
)

SweepId = Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")]


@sweep.command()
@with_options_of(sweep_request)
def submit(
    asked: Asked,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Queue a job for every combination and print the sweep's id.

    `submit` may be left out where options come first: `secateur sweep -f sweep.yaml`.
    """
    with connected(url, key, request_file=asked.file) as client:
        made = client.ask("POST", "sweeps", json=asked.body)
        if watch:
            (err if as_json else out).print(made["id"])
            _report(client, _to_end(client, made["id"]), as_json=as_json)
        else:
            tell(made, made["id"], as_json=as_json)


@sweep.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List sweeps, newest first."""
    with connected(url, key) as client:
        found = client.every("sweeps", of="sweeps")
    rows = table("id", "status", "ended", "model", "best", "created")
    for each in found:
        rows.add_row(
            *(each["id"], each["status"], f"{each['progress']:.0%}", each["request"]["model"]),
            *(each["best_job_id"] or "", each["created_at"][:19]),
        )
    tell(found, rows, as_json=as_json)


@sweep.command()
def watch(sweep: SweepId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Follow a sweep to its end and show its leaderboard; exit code 1 unless it has succeeded."""
    with connected(url, key) as client:
        _report(client, _to_end(client, sweep), as_json=as_json)


@sweep.command()
def leaderboard(
    sweep: SweepId,
    metric: Annotated[
        str | None, typer.Option(help="By default the metric of the objective.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Compare the jobs of a sweep, the best first."""
    with connected(url, key) as client:
        found = client.ask("GET", "sweeps", sweep, "leaderboard", params=given(metric=metric))
    tell(found, _board(found), as_json=as_json)


@sweep.command()
def best(sweep: SweepId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print the id of the job that meets the sweep's objective best so far."""
    with connected(url, key) as client:
        found = client.ask("GET", "sweeps", sweep)["best_job_id"]
    if found is None:
        fail("no job meets the objective, or the sweep has none")
    tell({"job_id": found}, found, as_json=as_json)


@sweep.command()
def cancel(sweep: SweepId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Stop all jobs of a sweep."""
    with connected(url, key) as client:
        found = client.ask("POST", "sweeps", sweep, "cancel")
    tell(found, f"{sweep} {found['status']}", as_json=as_json)


def _to_end(client: Client, sweep_id: str) -> Json:
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn())
    what = bar_text("{task.fields[what]}")
    advice = (
        f"{sweep_id} runs on. `secateur sweep watch {sweep_id}` follows it again, "
        f"`secateur sweep cancel {sweep_id}` stops it."
    )
    bars = Progress(*columns, TimeElapsedColumn(), what, console=err)
    with interruptible(advice), bars:
        row = bars.add_task("sweep", total=1, what="")
        while True:
            found: Json = client.ask("GET", "sweeps", sweep_id)
            counts = ", ".join(f"{count} {status}" for status, count in found["jobs"].items())
            bars.update(row, completed=found["progress"], what=counts)
            if found["status"] in TERMINAL:
                return found
            time.sleep(1)


def _report(client: Client, sweep: Json, *, as_json: bool) -> None:
    if as_json:
        out.print_json(data=sweep)
    else:
        show_table(_board(client.ask("GET", "sweeps", sweep["id"], "leaderboard")))
    if sweep["status"] != "succeeded":
        err.print(f"{sweep['id']} {sweep['status']}", style="red")
        raise typer.Exit(Exit.FAILED)


def _board(leaderboard: Json) -> Table:
    timed = any(each["time_ratio"] is not None for each in leaderboard["standings"])
    beside = ("time", "weights") if timed else ()  # over those of the dense model
    metric = leaderboard["metric"] or "metric"
    rows = table("job", "status", "method", "sparsity", metric, "drop", "MB", *beside)
    for each in leaderboard["standings"]:
        figures = (each["sparsity"], each["value"], each["drop"])
        told = ["" if figure is None else f"{figure:.4g}" for figure in figures]
        size = f"{each['bytes'] / 1e6:.1f}" if each["bytes"] else ""
        ratios = [each[f"{name}_ratio"] for name in beside]
        shares = ["" if ratio is None else f"{ratio:.3f}" for ratio in ratios]
        state = each["error_code"] or each["status"]
        rows.add_row(each["job_id"], state, each["method"], *told, size, *shares)
    return rows
