"""`secateur webhooks`: who is told of jobs."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import err, table, tell
from app.cli.requests.job import given

webhooks = typer.Typer(help="Manage webhook endpoints.", no_args_is_help=True)

EndpointId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of the endpoint.")]


@webhooks.command()
def create(
    address: Annotated[str, typer.Argument(help="https://... that takes the messages.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="What to be told of, e.g. job.failed; repeatable. By default all ends."),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Have an address told of jobs; show its signing secret, once."""
    with connected(url, key) as client:
        made = client.ask("POST", "webhooks", json=given(url=address, events=event))
    if not as_json:
        err.print(f"webhook {made['webhook']['id']}; its signing secret, shown only now:")
    tell(made, made["secret"], as_json=as_json)


@webhooks.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the project's endpoints."""
    with connected(url, key) as client:
        found = client.ask("GET", "webhooks")["webhooks"]
    rows = table("id", "url", "state", "events", "why")
    for each in found:
        why = each["disabled_reason"] or each["last_error"] or ""
        rows.add_row(each["id"], each["url"], each["state"], ",".join(each["events"]), why)
    tell(found, rows, as_json=as_json)


@webhooks.command()
def deliveries(
    webhook: EndpointId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent, or still waits to be, newest first."""
    with connected(url, key) as client:
        found = client.ask("GET", "webhooks", webhook, "deliveries", params={"limit": limit})[
            "deliveries"
        ]
    rows = table("id", "event", "state", "attempts", "status", "error")
    for each in found:
        told = (str(each["attempts"]), str(each["last_status"] or ""), each["last_error"] or "")
        rows.add_row(each["id"], each["event"], each["state"], *told)
    tell(found, rows, as_json=as_json)


@webhooks.command()
def replay(
    webhook: EndpointId,
    delivery: Annotated[str, typer.Argument(help="Id of the delivery.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send a message again."""
    with connected(url, key) as client:
        found = client.ask("POST", "webhooks", webhook, "deliveries", delivery, "replay")
    tell(found, f"{delivery} {found['state']}", as_json=as_json)


@webhooks.command()
def rotate(webhook: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Make a new signing secret and show it, once; the old one signs along for a day."""
    with connected(url, key) as client:
        made = client.ask("POST", "webhooks", webhook, "rotate")
    tell(made, made["secret"], as_json=as_json)


@webhooks.command()
def remove(webhook: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Forget an endpoint with its deliveries."""
    with connected(url, key) as client:
        client.ask("DELETE", "webhooks", webhook)
    tell({"id": webhook, "deleted": True}, f"{webhook} removed", as_json=as_json)
