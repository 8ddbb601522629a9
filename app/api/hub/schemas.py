"""What the Hugging Face Hub's clients read. Field names are the hub's."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from app.domain.jobs import Artifact
from app.services.hub import BRANCH, OID_LENGTH, Repository, Revision

# The size of the text file that git would hold in place of the content; nobody asks for it.
_POINTER_SIZE = 135


class _Out(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Sibling(_Out):
    """A file of a repository."""

    rfilename: str


class ModelInfo(_Out):
    """A repository at one commit."""

    id: str
    model_id: str
    sha: str
    siblings: list[Sibling]
    private: bool = True
    disabled: bool = False
    gated: bool = False
    downloads: int = 0
    likes: int = 0
    tags: list[str] = []

    @classmethod
    def of(cls, repository: Repository) -> Self:
        """The repository as the hub tells it."""
        siblings = [Sibling(rfilename=file.path) for file in repository.files]
        return cls(
            id=repository.id, model_id=repository.id, sha=repository.commit, siblings=siblings
        )


class Lfs(_Out):
    """The content of a file; `oid` is its SHA-256."""

    oid: str
    size: int
    pointer_size: int = _POINTER_SIZE


class FileEntry(_Out):
    """A file of a tree. All are told as large files, so that their identity is the SHA-256."""

    type: Literal["file"] = "file"
    path: str
    oid: str
    size: int
    lfs: Lfs

    @classmethod
    def of(cls, file: Artifact) -> Self:
        """The file as the hub tells it."""
        lfs = Lfs(oid=file.sha256, size=file.size)
        return cls(path=file.path, oid=file.sha256[:OID_LENGTH], size=file.size, lfs=lfs)


class FolderEntry(_Out):
    """A folder of a tree."""

    type: Literal["directory"] = "directory"
    path: str
    oid: str
    size: int = 0


Entry = FileEntry | FolderEntry


class Ref(_Out):
    """A branch or a tag."""

    name: str
    ref: str
    target_commit: str


class Refs(_Out):
    """What commits go by."""

    branches: list[Ref]
    tags: list[Ref]
    converts: list[Ref] = []

    @classmethod
    def of(cls, revisions: Sequence[Revision]) -> Self:
        """The revisions as the hub tells them."""
        branches = [each for each in revisions if each.name == BRANCH]
        tags = [each for each in revisions if each.name != BRANCH]
        return cls(branches=_refs("heads", branches), tags=_refs("tags", tags))


def _refs(kind: str, revisions: Sequence[Revision]) -> list[Ref]:
    return [
        Ref(name=each.name, ref=f"refs/{kind}/{each.name}", target_commit=each.commit)
        for each in revisions
    ]
