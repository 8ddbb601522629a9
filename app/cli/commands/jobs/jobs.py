"""`secateur jobs`, `show`, `events`, `cancel`, `retry`, `delete`, `methods`: what there is."""

from collections.abc import Iterator
from typing import Annotated

import typer

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.commands.jobs.watch import outcome
from app.cli.console import table, tell
from app.cli.lazy_group import JobId


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
    rows = table("id", "status", "phase", "done", "model", "method", "sparsity", "created")
    for job in found:
        done = f"{job['progress']:.0%}" if job["status"] in {"running", "cancelling"} else ""
        rows.add_row(
            *(job["id"], job["status"], job["phase"] or "", done),
            *(job["model"], job["method"], _sparsity(job), job["created_at"][:19]),
        )
    tell(found, rows, as_json=as_json)


def show(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with connected(url, key) as client:
        found = client.job(job)
        sent = client.ask("GET", "jobs", job, "publications")["publications"]
    rows = table("", "", header=False)
    for name in ("id", "status", "phase", "model", "method", "attempt", "created_at"):
        rows.add_row(name, str(found[name] or ""))
    rows.add_row("target", _sparsity(found))
    if found["error"]:
        rows.add_row("error", f"{found['error']['code']}: {found['error']['message']}")
    for name, text in _outcome(found["result"]) if found["result"] else ():
        rows.add_row(name, text)
    for each in sent:
        where = f"{each['destination']} {each['target']}".strip()
        more = each["url"] or each["last_error"]
        rows.add_row("publication", f"{where} {each['state']}{f': {more}' if more else ''}")
    tell(found | {"publications": sent}, rows, as_json=as_json)


def _outcome(result: Json) -> Iterator[tuple[str, str]]:
    """What a result says, a row each."""
    yield "result", outcome(result)
    if result.get("zeros") is not None:
        asked = f"{result['target']:,} were asked for"
        yield "zeros", f"{result['zeros']:,} of {result['weights']:,} weights; {asked}"
    yield "time", f"{result['seconds']:.1f} s"
    for name, measured in result.get("evaluation", {}).get("metrics", {}).items():
        before, after, change = (measured[when] for when in ("before", "after", "change"))
        went = f"{before['value']:.4g} -> {after['value']:.4g}"
        interval = f"[{change['low']:.4g}, {change['high']:.4g}]"
        difference = f"difference {change['value']:.4g} {interval}"
        yield name, f"{went}, {difference} of {measured['samples']} records"
    if gate := result.get("evaluation", {}).get("gate"):
        verdict = "passed" if gate["passed"] else "failed"
        yield (
            "quality gate",
            f"{verdict}: {gate['metric']} {gate['drop']:.4g} worse, {gate['max_drop']:g} allowed",
        )
    for each in (result.get("search") or {}).get("tried", []):
        verdict = "within" if each["qualifies"] else "outside"
        told = f"{each['drop']:.4g} worse, at worst {each['at_worst']:.4g}: {verdict} the gate"
        share = each["sparsity"] if each.get("removed") is None else each["removed"]
        yield f"{each.get('axis', 'sparsity')} {share:g}", told
    yield from _performance(result.get("performance") or {})
    for warning in result.get("warnings", []):
        yield "warning", warning


def _performance(found: Json) -> Iterator[tuple[str, str]]:
    """Memory and time beside the dense model."""
    for name in ("bytes", "peak_bytes"):
        if name in found:
            dense, left = found[name]["dense"], found[name]["result"]
            yield name, f"{dense:,} -> {left:,}"
    for name, each in found.get("seconds", {}).items():
        ratio = each["ratio"]
        interval = f"[{ratio['low']:.3f}, {ratio['high']:.3f}]"
        went = f"{each['dense']:.4g} s -> {each['result']:.4g} s"
        yield name, f"{went}, ratio {ratio['value']:.3f} {interval} of {found['rounds']} rounds"


def events(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print a job's event log, oldest first."""
    with connected(url, key) as client:
        found = client.events(job)
    rows = table("at", "attempt", "type", "message", header=False)
    for event in found:
        rows.add_row(event["at"][:19], str(event["attempt"]), event["type"], event["message"])
    tell(found, rows, as_json=as_json)


def cancel(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Stop a job: at once while it is queued, at the next block while it runs."""
    with connected(url, key) as client:
        found = client.act(job, "cancel")
    tell(found, f"{found['id']} {found['status']}", as_json=as_json)


def retry(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Submit a failed or cancelled job again, as a new job."""
    with connected(url, key) as client:
        made = client.act(job, "retry")
    tell(made, f"{made['id']} {made['status']}", as_json=as_json)


def delete(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Remove an ended job with its events and files."""
    with connected(url, key) as client:
        client.ask("DELETE", "jobs", job)
    tell({"id": job, "deleted": True}, f"{job} deleted", as_json=as_json)


def methods(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the pruning methods with what each is made of."""
    with connected(url, key) as client:
        found = client.methods()
    rows = table("method", "summary")
    for method in found:
        rows.add_row(method["name"], method["summary"])
    tell(found, rows, as_json=as_json)


def _sparsity(job: Json) -> str:
    ladders = (job["search"] or {}).get("ladders", ())
    if any(each["axis"] != "structure" for each in ladders):
        return "auto"
    wanted = job["recipe"].get("sparsity")
    if isinstance(wanted, dict):
        return " ".join(f"{name}={share}" for name, share in wanted.items())
    return "" if wanted is None else str(wanted)
