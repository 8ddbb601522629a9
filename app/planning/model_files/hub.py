"""Files of a hub's model, read over HTTP into memory: bounded in bytes and in time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from httpx2 import HTTPError, ReadTimeout, Response
from huggingface_hub import hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not listed
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    validate_repo_id,
)

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import (
    HubUnavailableError,
    ModelFilesError,
    ModelGatedError,
    ModelLoadError,
    ModelNotFoundError,
    ModelRevisionError,
    ModelSourceError,
)
from app.planning.model_files.files import HubModel

SECONDS = 5.0  # for a part of an answer
_DEADLINE = 20.0  # seconds, for all of it
_MAX_INFO, _MAX_ERROR = 8 << 20, 64 << 10  # bytes
MOST_FILES = 20_000
_PARTIAL = 206


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Bytes of a file from its beginning on, or from further on.

    Attributes:
        content: the bytes.
        size: of the whole file; None where the hub does not say.
    """

    content: bytes
    size: int | None


class HubFiles:
    """Reads the models of one hub with the token that the process has."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    def list(self, source: HubModel) -> tuple[HubModel, dict[str, int]]:
        """The model at its commit, and the sizes of its files by path; -1 for one not told.

        Raises:
            HubUnavailableError: the answer is not what a hub says.
            HFValidationError: the name is none that a hub has.
            HfHubHTTPError: the hub refuses.
            HTTPError: it does not answer.
        """
        validate_repo_id(source.repo_id)
        revision = quote(source.revision, safe="")
        url = f"{self._endpoint}/api/models/{source.repo_id}/revision/{revision}"
        answer = self._read(f"{url}?blobs=true", _MAX_INFO, {}).content
        try:
            commit, sizes = _listing(parse_object(answer, JsonLimits(_MAX_INFO, values=1 << 20)))
        except JsonError as error:
            reason = f"hf:{source.repo_id}: the hub's answer cannot be read: {error}"
            raise HubUnavailableError(reason) from error
        return HubModel(source.repo_id, commit or source.revision), sizes

    def read(self, at: HubModel, file: str, longest: int, begin: int = 0) -> FileBytes:
        """Up to `longest` bytes of a file, from the byte `begin` on.

        Raises:
            HfHubHTTPError: the hub refuses.
            HTTPError: it does not answer.
        """
        url = hf_hub_url(at.repo_id, file, revision=at.revision, endpoint=self._endpoint)
        return self._read(url, longest, {"Range": f"bytes={begin}-{begin + longest - 1}"}, begin)

    def _read(
        self, url: str, longest: int, headers: Mapping[str, str], begin: int = 0
    ) -> FileBytes:
        """An answer's bytes; never more than asked for, whatever the hub sends."""
        given = {**build_hf_headers(library_name="secateur"), "Accept-Encoding": "identity"}
        until = time.monotonic() + _DEADLINE
        with get_session().stream("GET", url, headers={**given, **headers}, timeout=SECONDS) as got:
            if got.is_error:
                content = _taken(got, _MAX_ERROR, until)
                hf_raise_for_status(
                    Response(
                        got.status_code,
                        headers={k: v for k, v in got.headers.items() if k.startswith("x-")},
                        content=content,
                        request=got.request,
                    )
                )
            partial = got.status_code == _PARTIAL
            # A hub that does not know ranges sends all from the start.
            content = _taken(got, longest + (0 if partial else begin), until)
            size = _size(got, partial=partial)
        return FileBytes(content if partial else content[begin:], size)


def _taken(answer: Response, longest: int, until: float) -> bytes:
    pieces, left = [], longest
    for piece in answer.iter_raw(1 << 16):
        pieces.append(piece[:left])
        left -= len(pieces[-1])
        if left <= 0:
            break
        if time.monotonic() > until:
            raise ReadTimeout(f"no whole answer in {_DEADLINE:g} s", request=answer.request)
    return b"".join(pieces)


def _size(answer: Response, *, partial: bool) -> int | None:
    told = answer.headers.get("content-range", "") if partial else ""
    told = told.rpartition("/")[2] or answer.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else None  # noqa: PLR2004


def _listing(info: dict[str, Any]) -> tuple[str | None, dict[str, int]]:
    """Commit, and sizes of files by path, of an answer."""
    commit, files = info.get("sha"), info.get("siblings")
    if not isinstance(commit, str | None) or not isinstance(files, list):
        raise JsonError("it names no files")
    if len(files) > MOST_FILES:
        raise JsonError(f"{len(files)} files; no model has that many")
    return commit, dict(map(_file, files))


def _file(entry: Any) -> tuple[str, int]:
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise JsonError("a file without a name")
    size = entry.get("size")
    return name, size if type(size) is int else -1


@contextmanager
def hub_errors(source: HubModel) -> Iterator[None]:
    """Turn what is raised inside into errors of ours; subclasses come before their bases.

    Raises:
        UserError: the model does not exist or may not be had.
        HubUnavailableError: the hub does not answer.
    """
    name = f"hf:{source.repo_id}"
    try:
        yield
    except GatedRepoError as error:
        raise ModelGatedError(
            f"{name} is gated: accept its terms on the hub with the account whose token (HF_TOKEN) "
            "the service has, if its operator lets jobs use it (SECATEUR_MODELS__SHARED_HUB_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"the hub has no model {name}, or shows it to other accounts only"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelRevisionError(f"{name} has no revision {source.revision!r}") from error
    except HFValidationError as error:
        raise ModelSourceError(f"{name} is no valid hub id: {error}") from error
    except (ModelFilesError, ModelLoadError) as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error
    except (HfHubHTTPError, HTTPError, LocalEntryNotFoundError) as error:
        raise HubUnavailableError(f"{name} cannot be read now: {error}") from error
