"""Models: finished jobs under a name of the project's own, one version after the other."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

# As the Hugging Face Hub allows names: no two of . _ - in a row, none at an end.
_NAME = r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"
_REVISION = re.compile(r"v(?P<version>[1-9]\d{0,8})")

ModelName = Annotated[
    str, Field(pattern=f"^{_NAME}$", max_length=96, description="name of a model of the project")
]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model; its number is never given to another job."""

    name: str
    version: int
    job_id: str
    created_at: datetime

    @property
    def revision(self) -> str:
        """What the version is called where revisions are named: `v3`."""
        return f"v{self.version}"


def version_of(revision: str) -> int | None:
    """The number that a revision such as `v3` names; None for other revisions."""
    match = _REVISION.fullmatch(revision)
    return int(match["version"]) if match else None
