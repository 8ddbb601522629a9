"""`secateur submit`, `plan`, `clone`: ask for a pruning job."""

from typing import Annotated

import typer
from rich.table import Table

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.commands.jobs.watch import report, watch_to_end
from app.cli.console import err, out, table, tell
from app.cli.lazy_group import JobId
from app.cli.requests.job import Asked, job_request, with_fields
from app.cli.requests.shared_options import with_options_of


@with_options_of(job_request)
def submit(
    asked: Asked,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Queue a pruning job and print its id.

    What is not given is left to the service.
    """
    with connected(url, key, request_file=asked.file) as client:
        job = client.submit(asked.body)
        if watch:
            # The id comes first: whatever happens to the watch, the job can be found.
            (err if as_json else out).print(job["id"])
            report(watch_to_end(client, job["id"]), as_json=as_json, told=err)
        else:
            tell(job, job["id"], as_json=as_json)


@with_options_of(job_request)
def plan(asked: Asked, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Tell what a job would do, without queueing it; refused whenever the job would be."""
    with connected(url, key, request_file=asked.file) as client:
        found = client.ask("POST", "plans", json=asked.body)
    tell(found, _in_words(found), as_json=as_json)


def _in_words(plan: Json) -> Table:
    rows = table("", "", header=False)
    if (smaller := plan["structure"]) is not None:
        left, before = smaller["parameters_kept"], smaller["parameters"]
        rows.add_row("parameters", f"{left:,} of {before:,} ({_share(left, before)})")
        rows.add_row("bytes", f"{smaller['bytes_kept']:,} of {smaller['bytes']:,}")
        every = smaller["towers"]
        kept = sum(each["tokens"] * each["flops_kept"] for each in every)
        whole = sum(each["tokens"] * each["flops"] for each in every)
        rows.add_row("operations", f"{_share(kept, whole)} for one image and 512 tokens of text")
    if (small := plan["quantization"]) is not None:
        told = f"{small['bytes']:,} bytes in place of {small['bytes_before']:,}"
        rows.add_row(small["kind"], f"{small['matrices']} matrices: {told}")
    rows.add_row("matrices", str(len(plan["matrices"] or ())))
    rows.add_row("weights", f"{sum(plan['weights'].values()):,} in them, {plan['zeros']:,} to go")
    if plan["reached"] is not None:
        blocks = f"{plan['reached_blocks']:.1%} of those in blocks"
        rows.add_row("reached", f"{plan['reached']:.1%} of all weights, {blocks}")
        rows.add_row("sparsity", f"{plan['model_sparsity']:.1%} of the whole model")
        for each in plan["dense"]:
            share = _share(each["weights"], plan["model_weights"])
            rows.add_row("left dense", f"{each['name']} ({share}): {each['reason']}")
    rows.add_row("worker class", plan["worker_class"])
    if plan["memory_bytes"]:
        rows.add_row("memory", f"{plan['memory_bytes'] / 1e9:.1f} GB")
    if plan["phases"]:
        rows.add_row("time", f"{sum(plan['phases'].values()):.0f} s")
    if plan["packed_bytes"]:
        rows.add_row("packed", f"{plan['packed_bytes'] / 1e6:.1f} MB")
    for warning in plan["warnings"]:
        rows.add_row("warning", warning)
    return rows


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "nothing"  # of an empty model


def clone(
    job: JobId,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A field to set anew as a whole, name=value in YAML; null puts it back to its "
            "default; repeatable.",
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job's request again, with changes, and print the new id."""
    with connected(url, key) as client:
        made = client.ask("POST", "jobs", job, "clone", json=with_fields({}, change))
    tell(made, made["id"], as_json=as_json)
