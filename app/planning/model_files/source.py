"""Where a model comes from: `hf:organisation/name@revision`, or a path under an allowed root."""

import re
from dataclasses import dataclass

from app.errors import ModelSourceError

_HUB = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?)"
    r"(?:@(?P<revision>[\w][\w./-]{0,127}))?"
)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the Hugging Face Hub at a branch, tag or commit."""

    repo_id: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A directory on the service's machines; relative paths are looked up in each allowed root."""

    path: str


ModelSource = HubModel | LocalModel


def parse_model_source(text: str) -> ModelSource:
    """Read a job's `model`.

    Raises:
        ModelSourceError: neither form fits.
    """
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None or ".." in text:
            raise ModelSourceError(f"{text!r} is not hf:organisation/name or hf:...@revision")
        return HubModel(match["repo"], match["revision"] or "main")
    if not text.strip() or "\0" in text or ":" in text.split("/", 1)[0]:
        raise ModelSourceError(f"{text!r} is neither a path nor hf:organisation/name@revision")
    return LocalModel(text)
