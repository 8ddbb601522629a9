"""What the shell may complete; asks the service, and stays silent where it does not answer."""

from typing import Annotated

import httpx2
import typer

from app.cli.service import service

_PATIENCE = 1.0  # seconds: nobody waits longer for a completion


def complete_job(incomplete: str) -> list[str]:
    """Ids of the newest jobs."""
    return [id_ for id_ in _ask("/v1/jobs?limit=50", "jobs", "id") if id_.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    """Names of methods."""
    names = _ask("/v1/methods", "methods", "name")
    return [name for name in names if name.startswith(incomplete)]


def _ask(path: str, items: str, field: str) -> list[str]:
    address, key = service()
    try:
        answer = httpx2.get(
            f"{address}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE
        )
        return [item[field] for item in answer.json()[items]]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError):
        return []


JobId = Annotated[str, typer.Argument(help="Id of the job.", autocompletion=complete_job)]
MethodName = Annotated[
    str,
    typer.Option(
        help="Pruning method; `secateur methods` lists them.", autocompletion=complete_method
    ),
]
