"""Published files over HTTP: validators, digests, ranges."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.api.http.documented import header
from app.api.http.endpoints import WithResources
from app.api.http.problems import problem
from app.domain.jobs import Artifact

ONE_MEBIBYTE = 1 << 20
FOR_EVER = "private, immutable, max-age=31536000"


_HEADERS = {
    "ETag": header("the file's SHA-256", example='"9f86d0…"'),
    "Repr-Digest": header("the digest of the whole file (RFC 9530)", example="sha-256=:n4bQ…:"),
    "Cache-Control": header("files never change", example=FOR_EVER),
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
# Of an endpoint that answers with a file.
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The whole file",
        "content": _BINARY,
        "headers": _HEADERS | {"Accept-Ranges": header("always `bytes`", example="bytes")},
    },
    206: {
        "description": "The range that was asked for",
        "content": _BINARY,
        "headers": _HEADERS
        | {"Content-Range": header("which bytes these are", example="bytes 0-99/1000")},
    },
    302: {
        "description": "The file is on an object store",
        "headers": _HEADERS | {"Location": header("where, for a while; without the key")},
    },
    304: {"description": "The client has the file", "headers": _HEADERS},
    416: {
        "description": "The range lies outside of the file",
        "headers": {"Content-Range": header("how long the file is", example="bytes */1000")},
    },
}


class PublishedFile(FileResponse):
    """A file on this machine's disk."""

    # Starlette reads 64 KiB at a time, each by a hop to a thread.
    chunk_size = ONE_MEBIBYTE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As `FileResponse`, with problems for ranges that cannot be."""
        refused: list[Response] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _RANGES:
                status = HTTPStatus(message["status"])
                told = Headers(raw=message["headers"]).get("content-range")
                headers = {"Content-Range": told} if told else {}
                detail = "the Range header names no bytes of this file"
                refused.append(problem(status, _RANGES[status], detail, headers=headers))
            if not refused:
                await send(message)

        await super().__call__(scope, receive, sending)
        for problem_ in refused:
            await problem_(scope, receive, send)


_RANGES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "range_not_satisfiable",
}


class Sender:
    """Answers a request with a file, or where it is; honours If-None-Match, Range, If-Range."""

    def __init__(
        self,
        request: Request,
        resources: WithResources,
        if_none_match: Annotated[str | None, Header(description="ETags the client has")] = None,
    ) -> None:
        self._store = resources.store
        self._head = request.method == "HEAD"
        self._known = if_none_match

    def send(self, artifact: Artifact, extra: Mapping[str, str] | None = None) -> Response:
        """The file, or that the client has it. The ETag is the SHA-256 of the whole file."""
        headers = {
            "ETag": etag(artifact),
            "Repr-Digest": repr_digest(artifact),
            "Cache-Control": FOR_EVER,
            **(extra or {}),
        }
        if self._known is not None and _matches(self._known, etag(artifact)):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        found = self._store.locate(artifact)
        if isinstance(found, str):
            # The address expires, so nobody may keep it; and it is good for GET alone.
            if self._head:
                headers |= {"Content-Length": str(artifact.size), "Accept-Ranges": "bytes"}
                return Response(media_type=artifact.media_type, headers=headers)
            headers["Cache-Control"] = "no-store"
            return RedirectResponse(found, HTTPStatus.FOUND, headers=headers)
        return PublishedFile(
            found, media_type=artifact.media_type, filename=found.name, headers=headers
        )


WithSender = Annotated[Sender, Depends()]


def etag(artifact: Artifact) -> str:
    """The strong validator of a file (RFC 9110, section 8.8.3)."""
    return f'"{artifact.sha256}"'


def repr_digest(artifact: Artifact) -> str:
    """The digest of the whole file, also where a range of it is sent (RFC 9530, section 3)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(artifact.sha256)).decode()}:"


def _matches(if_none_match: str, tag: str) -> bool:
    """Weak comparison, as If-None-Match asks for (RFC 9110, section 13.1.2)."""
    listed = (known.strip().removeprefix("W/") for known in if_none_match.split(","))
    return any(known in {tag, "*"} for known in listed)
