"""`secateur jobs`, `show`, `events`, `cancel`, `retry`, `delete`, `methods`: what there is."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.completion import JobId
from app.cli.console import out, table


def jobs(
    *,
    status: Annotated[
        str | None, typer.Option(help="Only jobs of this status.", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Only jobs of this method.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected(url, key) as client:
        found = client.jobs(status=status, method=method, limit=limit)
    if as_json:
        out.print_json(data=found)
        return
    rows = table("id", "status", "phase", "done", "model", "method", "sparsity", "created")
    for job in found:
        done = f"{job['progress']:.0%}" if job["status"] in {"running", "cancelling"} else ""
        rows.add_row(
            *(job["id"], job["status"], job["phase"] or "", done),
            *(job["model"], job["method"], _sparsity(job), job["created_at"][:19]),
        )
    out.print(rows)


def show(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with connected(url, key) as client:
        found = client.job(job)
    if as_json:
        out.print_json(data=found)
        return
    rows = table("", "", header=False)
    for name in ("id", "status", "phase", "model", "method", "attempt", "created_at"):
        rows.add_row(name, str(found[name] or ""))
    rows.add_row("target", _sparsity(found))
    if found["error"]:
        rows.add_row("error", f"{found['error']['code']}: {found['error']['message']}")
    for name, value in (found["result"] or {}).items():
        if isinstance(value, int | float | str):
            rows.add_row(name, f"{value}")
    out.print(rows)


def events(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print a job's event log, oldest first."""
    with connected(url, key) as client:
        found = client.events(job)
    if as_json:
        out.print_json(data=found)
        return
    rows = table("at", "attempt", "type", "message", header=False)
    for event in found:
        rows.add_row(event["at"][:19], str(event["attempt"]), event["type"], event["message"])
    out.print(rows)


def cancel(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Stop a job: at once while it is queued, at the next block while it runs."""
    with connected(url, key) as client:
        _tell(client.act(job, "cancel"), as_json=as_json)


def retry(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Submit a failed or cancelled job again, as a new job."""
    with connected(url, key) as client:
        _tell(client.act(job, "retry"), as_json=as_json)


def delete(job: JobId, url: Url = None, key: Key = None) -> None:
    """Remove an ended job with its events and files."""
    with connected(url, key) as client:
        client.ask("DELETE", "jobs", job)
    out.print(f"{job} deleted")


def methods(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the pruning methods with what each is made of."""
    with connected(url, key) as client:
        found = client.methods()
    if as_json:
        out.print_json(data=found)
        return
    rows = table("method", "summary")
    for method in found:
        rows.add_row(method["name"], method["summary"])
    out.print(rows)


def _tell(job: Json, *, as_json: bool) -> None:
    if as_json:
        out.print_json(data=job)
    else:
        out.print(f"{job['id']} {job['status']}")


def _sparsity(job: Json) -> str:
    wanted = job["recipe"].get("sparsity")
    if isinstance(wanted, dict):
        return " ".join(f"{name}={share}" for name, share in wanted.items())
    return "" if wanted is None else str(wanted)
