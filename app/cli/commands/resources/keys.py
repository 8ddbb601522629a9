"""`secateur keys`: the first made by whoever may open the database, the rest over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import table, tell
from app.cli.service import DEFAULT_PROJECT, DataDir, Scope

keys = typer.Typer(help="Manage API keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Id of a key, as listed.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = "admin",
    project: Annotated[str, typer.Option(help="Id of its project.")] = DEFAULT_PROJECT,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key, directly in the database, and show it, once."""
    # A database takes a second to import; the other commands do without.
    from app.cli.commands.resources.issue_key import issue_key  # noqa: PLC0415

    made, secret = issue_key(name, scope=scope, project=project, data_dir=data_dir)
    shown = {"id": made.id, "name": name, "scope": scope, "project_id": project}
    tell({"key": shown, "secret": secret}, secret, as_json=as_json)


@keys.command()
def adopt(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists.")],
    file: Annotated[Path, typer.Argument(help="Has the secret: sct_ and 32 letters or more.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = "admin",
    project: Annotated[str, typer.Option(help="Id of its project.")] = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Make a secret of your own an API key, directly in the database; again changes nothing."""
    from app.cli.commands.resources.issue_key import adopt_key  # noqa: PLC0415  as above

    made = adopt_key(name, file, scope=scope, project=project)
    words = f"{name} is an API key now" if made else "it is an API key already"
    tell({"id": made, "name": name, "created": made is not None}, words, as_json=as_json)


@keys.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the project's keys, ended ones included, newest first."""
    with connected(url, key) as client:
        found = client.ask("GET", "keys")["keys"]
    rows = table("id", "name", "scope", "created", "last used", "ends")
    for each in found:
        ends = each["revoked_at"] or each["expires_at"] or ""
        used = each["last_used_at"] or ""
        times = (text[:19] for text in (each["created_at"], used, ends))
        rows.add_row(each["id"], each["name"], each["scope"], *times)
    tell(found, rows, as_json=as_json)


@keys.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[int, typer.Option(min=0, help="Seconds that the old one lives on.")] = 0,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key by a new one of the same name, scope and expiry; show it, once."""
    with connected(url, key) as client:
        made = client.ask("POST", "keys", key_id, "rotate", json={"grace_seconds": grace})
    tell(made, made["secret"], as_json=as_json)


@keys.command()
def revoke(key_id: KeyId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """End a key at once."""
    with connected(url, key) as client:
        ended = client.ask("DELETE", "keys", key_id)
    tell(ended, f"{key_id} revoked", as_json=as_json)
