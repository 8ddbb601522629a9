"""Published files over HTTP: validators, digests, ranges."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from app.api.deps import WithResources
from app.domain.jobs import Artifact

ONE_MEBIBYTE = 1 << 20
FOR_EVER = "private, immutable, max-age=31536000"


class PublishedFile(FileResponse):
    """A file on this machine's disk."""

    # Starlette reads 64 KiB at a time, each by a hop to a thread.
    chunk_size = ONE_MEBIBYTE


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
