"""The service as the command line sees it: plain HTTP, problems as exceptions."""

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import quote

import httpx2
import typer

from app.cli.console import Exit, fail
from app.cli.service import Service, service

Url = Annotated[
    str | None,
    typer.Option(envvar="SECATEUR_URL", help="Address of the service.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="SECATEUR_KEY",
        help="API key; for the service of `secateur up` the one that it has kept by default.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

Json = dict[str, Any]

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_POLL_SECONDS = 0.3
_PAGE = 200  # the longest that the service gives
_NO_KEY = (
    "no API key was sent; give one by --key or in SECATEUR_KEY. The one that `secateur up` keeps "
    "in SECATEUR_DATA_DIR is sent to its own address alone"
)
# A watch outlives a restart of the service of this length (seconds).
_PATIENCE = 30.0


class RefusedError(Exception):
    """The service answered with a problem.

    Attributes:
        code: stable, made for programs.
        detail: what is wrong, for people.
        of_request: whether it tells of fields of the request, by their paths.
    """

    def __init__(self, code: str, detail: str, *, of_request: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.of_request = of_request


class UnreachableError(Exception):
    """The service did not answer."""


class Client:
    """One service, one key.

    Raises:
        RefusedError: from every method; the service said no.
        UnreachableError: from every method; it said nothing.
    """

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Files may lie on an object store; the key does not travel there.
        self._http = httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=30,
            follow_redirects=True,
            transport=_Transport(),
        )

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, method: str, *parts: str | int, **arguments: Any) -> Any:
        """The answer to a request to `/v1/...`; None where it has no body.

        Args:
            method: of HTTP.
            parts: of the path, to be quoted.
            arguments: httpx2's: `json`, `params`, `content`.
        """
        address = "/".join(quote(str(part), safe="") for part in parts)
        with self._transport_errors():
            response = self._http.request(method, f"/v1/{address}", **arguments)
        if response.is_error:
            raise _refusal(response)
        return response.json() if response.content else None

    def every(self, *parts: str, of: str) -> list[Json]:
        """Everything of a list, page by page; `of` is what the answer calls it."""
        found: list[Json] = []
        cursor: Json = {}
        while True:
            page = self.ask("GET", *parts, params={"limit": _PAGE, **cursor})
            found += page[of]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def submit(self, request: Json) -> Json:
        """Queue a job."""
        made: Json = self.ask("POST", "jobs", json=request)
        return made

    def job(self, job_id: str) -> Json:
        """Look at a job."""
        found: Json = self.ask("GET", "jobs", job_id)
        return found

    def jobs(self, **only: Any) -> list[Json]:
        """The newest jobs; what is None does not restrict."""
        given = {name: value for name, value in only.items() if value is not None}
        found: list[Json] = self.ask("GET", "jobs", params=given)["jobs"]
        return found

    def events(self, job_id: str) -> list[Json]:
        """The whole event log of a job, oldest first."""
        found: list[Json] = []
        while page := self.events_after(job_id, found[-1]["id"] if found else 0):
            found += page
        return found

    def events_after(self, job_id: str, seen: int) -> list[Json]:
        """A page of the event log that follows the event id `seen`."""
        page: list[Json] = self.ask("GET", "jobs", job_id, "events", params={"after": seen})[
            "events"
        ]
        return page

    def act(self, job_id: str, action: str) -> Json:
        """Cancel a job, or retry it."""
        changed: Json = self.ask("POST", "jobs", job_id, action)
        return changed

    def methods(self) -> list[Json]:
        """The pruning methods."""
        found: list[Json] = self.ask("GET", "methods")["methods"]
        return found

    def version(self, name: str, version: int | None) -> Json:
        """A version of a model; the newest for None."""
        if version is not None:
            found: Json = self.ask("GET", "models", name, "versions", version)
            return found
        newest: Json = self.ask("GET", "models", name)["versions"][0]
        return newest

    def artifacts(self, job_id: str) -> list[Json]:
        """List the files of a job: path, size in bytes, sha256."""
        artifacts: list[Json] = self.ask("GET", "jobs", job_id, "artifacts")["artifacts"]
        return artifacts

    def file(self, job_id: str, path: str, start: int) -> AbstractContextManager[httpx2.Response]:
        """Stream one file of a job from that byte on, or all of it: see the status."""
        # Without If-Range: object stores have validators of their own.
        resume = {"Range": f"bytes={start}-"} if start else {}
        return self._stream(f"/v1/jobs/{quote(job_id, safe='')}/artifacts/{quote(path)}", resume)

    def report(self, job_id: str) -> bytes:
        """The report of a job, as a page of HTML."""
        with self._stream(f"/v1/jobs/{quote(job_id, safe='')}/report", {}) as response:
            return response.read()

    def packed(self, job_id: str, path: str, start: int) -> AbstractContextManager[httpx2.Response]:
        """Stream the packed form of one file of a job, from about that byte of the file on."""
        address = f"/v1/jobs/{quote(job_id, safe='')}/packed/{quote(path)}?start={start}"
        return self._stream(address, {"Accept-Encoding": "zstd"})

    @contextmanager
    def _stream(self, address: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        with (
            self._transport_errors(),
            self._http.stream("GET", address, headers=headers) as response,
        ):
            if response.is_error:
                response.read()
                raise _refusal(response)
            yield response

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            url = self._http.base_url.copy_with(userinfo=b"")  # no password in a message
            raise UnreachableError(
                f"no answer from {url}: {error or type(error).__name__}; is `secateur up` running "
                "there? SECATEUR_URL or --url name another address"
            ) from error


class _Transport(httpx2.BaseTransport):
    """HTTP at once; certificates are loaded (0.1 CPU seconds) when an https address is met."""

    def __init__(self) -> None:
        # A context without certificates: a transport would load them for itself otherwise.
        self._plain = httpx2.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._secure: httpx2.HTTPTransport | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme != "https":
            return self._plain.handle_request(request)
        if self._secure is None:
            self._secure = httpx2.HTTPTransport()
        return self._secure.handle_request(request)

    def close(self) -> None:
        self._plain.close()
        if self._secure is not None:
            self._secure.close()


def follow(client: Client, job_id: str, *, pause: Callable[[float], None]) -> Iterator[Json]:
    """The job again and again, until it has ended; a short absence of the service is waited out."""
    absent = 0.0
    while True:
        try:
            job = client.job(job_id)
        except UnreachableError:
            absent += _POLL_SECONDS
            if absent > _PATIENCE:
                raise
        else:
            absent = 0.0
            yield job
            if job["status"] in TERMINAL:
                return
        pause(_POLL_SECONDS)


@contextmanager
def connected(
    url: str | None, key: str | None, *, request_file: str | None = None
) -> Iterator[Client]:
    """A client; what goes wrong inside ends the command with `code: detail` and its exit code.

    Args:
        url: of the service.
        key: to it.
        request_file: what messages about fields of the request call the file they may be from.
    """
    found = service(url, key)
    _check(found)
    try:
        with Client(*found) as client:
            yield client
    except RefusedError as error:
        place = f"{request_file}: " if request_file and error.of_request else ""
        fail(f"{error.code}: {place}{error.detail}", Exit.REFUSED)
    except UnreachableError as error:
        fail(f"service_unreachable: {error}", Exit.UNREACHABLE)


def _check(found: Service) -> None:
    """End the command where an address or a key cannot be one; the key is not shown."""
    if not found.url.startswith(("http://", "https://")):
        told = (
            f"the address of a service begins with http:// or https://, and {found.url!r} does not"
        )
        fail(f"url_invalid: {told}", Exit.USAGE)
    key = found.key or ""
    if not (key.isascii() and key.isprintable() and " " not in key):
        told = "an API key has letters, digits and signs of ASCII alone; copy it again"
        fail(f"api_key_invalid: {told}", Exit.USAGE)


def _refusal(response: httpx2.Response) -> RefusedError:
    try:
        problem = response.json()
        fields = problem.get("errors", ())
        if problem["code"] == "api_key_missing":  # the answer tells of headers
            return RefusedError(problem["code"], _NO_KEY)
        if not fields or not all("pointer" in each for each in fields):
            return RefusedError(problem["code"], problem["detail"])
        told = "; ".join(f"{_path(each['pointer'])}{each['detail']}" for each in fields)
        return RefusedError(problem["code"], told, of_request=True)
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
        return RefusedError(f"http_{response.status_code}", response.text.strip()[:200])


def _path(pointer: str) -> str:
    """A JSON pointer as `--set` writes it; nothing where it is of the whole request."""
    parts = pointer.split("/")[1:]
    path = ".".join(part.replace("~1", "/").replace("~0", "~") for part in parts)
    return f"{path}: " if path else ""
