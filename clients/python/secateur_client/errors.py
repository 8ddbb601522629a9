"""What can go wrong.

SecateurError
├── UnreachableError   the service did not answer
├── RefusedError       it answered with a problem
├── JobFailedError     a job or a sweep ended without success
└── DownloadError      a file is not what the service lists
"""

import json
from typing import Any

import httpx2

_NO_KEY = (
    "no API key was sent; give one as key=... or in SECATEUR_KEY. The one that `secateur up` keeps "
    "in SECATEUR_DATA_DIR is sent to its own address alone"
)


class SecateurError(Exception):
    """The base of everything that the client raises by itself.

    Attributes:
        code: stable, made for programs.
        hint: what is wrong and what to do, made for people.
    """

    def __init__(self, code: str, hint: str) -> None:
        super().__init__(f"{code}: {hint}")
        self.code = code
        self.hint = hint


class UnreachableError(SecateurError):
    """The service did not answer, also when asked again."""

    def __init__(self, hint: str) -> None:
        super().__init__("service_unreachable", hint)


class RefusedError(SecateurError):
    """The service answered with a problem (RFC 9457).

    Attributes:
        status: of HTTP.
        issues: each thing that is wrong, with a JSON pointer into the request where it has one.
        request_id: what the service's log calls the request.
    """

    def __init__(self, response: httpx2.Response) -> None:
        problem = _problem(response)
        code = problem["code"]
        super().__init__(code, _NO_KEY if code == "api_key_missing" else problem["detail"])
        self.status = response.status_code
        self.issues: list[dict[str, Any]] = problem.get("errors") or []
        self.request_id = response.headers.get("X-Request-Id")


class JobFailedError(SecateurError):
    """A job or a sweep failed or was cancelled.

    Attributes:
        id: of the job or sweep.
        status: how it ended.
    """

    def __init__(self, subject_id: str, status: str, error: Any = None) -> None:
        told = error or {"code": f"job_{status}", "message": f"{subject_id} {status}"}
        super().__init__(told["code"], told["message"])
        self.id = subject_id
        self.status = status


class DownloadError(SecateurError):
    """A job has no files, or a file is not what the service lists."""

    def __init__(self, hint: str) -> None:
        super().__init__("download_failed", hint)


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = response.json()
        told: dict[str, Any] = {name: problem[name] for name in ("code", "detail")}
        return told | {"errors": problem.get("errors")}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        code = f"http_{response.status_code}"
        return {"code": code, "detail": response.text.strip()[:200] or response.reason_phrase}
