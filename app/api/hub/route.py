"""Errors as the Hugging Face Hub's clients want to be told them: by the header X-Error-Code."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from app import errors
from app.api.http.endpoints import TransactionRoute
from app.api.http.problems import problem
from app.domain import projects
from app.errors import SecateurError
from app.telemetry.redaction import scrub

# A key that is missing or wrong is told as a gated repository, whose message is about tokens; a
# plain 401 makes clients say that the repository does not exist, or that the hub is down.
CODES: dict[type[SecateurError], str] = {
    projects.KeyMissingError: "GatedRepo",
    projects.KeyInvalidError: "GatedRepo",
    errors.JobNotFoundError: "RepoNotFound",
    errors.RepositoryNotFoundError: "RepoNotFound",
    errors.RevisionNotFoundError: "RevisionNotFound",
    errors.ArtifactNotFoundError: "EntryNotFound",
}


def refuse(error: SecateurError, **headers: str) -> Response:
    """The problem, with what the hub's clients look at beside it."""
    told = {"X-Error-Message": _ascii(scrub(str(error)))} | headers
    if error.retry_after is not None:
        told["Retry-After"] = str(error.retry_after)
    if type(error) in CODES:
        told["X-Error-Code"] = CODES[type(error)]
    return problem(error.status, error.code, str(error), headers=told)


class HubRoute(TransactionRoute):
    """A route whose errors carry the hub's headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, wrapped."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except SecateurError as error:
                return refuse(error)

        return guarded


def _ascii(text: str) -> str:
    """As a header value: printable ASCII on one line."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
