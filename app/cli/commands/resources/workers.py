"""`secateur workers`: the classes of machines that jobs go to, and their processes."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import table, tell

workers = typer.Typer(help="Look at workers; retire classes.", no_args_is_help=True)


@workers.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the worker classes with the machine that spoke for each last."""
    with connected(url, key) as client:
        found = client.ask("GET", "workers")["workers"]
    rows = table("name", "device", "GPUs", "cores", "memory, GB", "GFLOPS", "seen")
    for each in found:
        size = (each["device_bytes"] or each["memory_bytes"]) / 1e9
        figures = (each["devices"], each["cores"], f"{size:.1f}", f"{each['gflops']:.0f}")
        rows.add_row(each["name"], each["device"], *map(str, figures), each["seen_at"][:19])
    tell(found, rows, as_json=as_json)


@workers.command()
def processes(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the workers one by one, with what each runs."""
    with connected(url, key) as client:
        found = client.ask("GET", "workers")["processes"]
    rows = table("name", "class", "state", "job", "device", "versions", "seen")
    for each in found:
        versions = ", ".join(f"{name} {version}" for name, version in each["versions"].items())
        told = (each["worker_class"], each["state"], each["job_id"] or "", each["device"])
        rows.add_row(each["name"], *told, versions, each["seen_at"][:19])
    tell(found, rows, as_json=as_json)


@workers.command()
def retire(
    name: Annotated[str, typer.Argument(help="Name of the class, as listed.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Forget a class that is gone; jobs that wait for it go to another class, or fail."""
    with connected(url, key) as client:
        found = client.ask("DELETE", "workers", name)
    moved, failed = len(found["moved"]), len(found["failed"])
    tell(found, f"{name} retired; jobs moved: {moved}, failed: {failed}", as_json=as_json)
