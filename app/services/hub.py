"""A finished job as a model repository of the Hugging Face Hub: one branch, one commit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.domain.access import Caller
from app.domain.errors import RepositoryNotFoundError, RevisionNotFoundError
from app.domain.jobs import Artifact
from app.services import artifacts

NAMESPACE = "jobs"
BRANCH = "main"
MANIFEST = "manifest.json"
OID_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit of a repository.

    Attributes:
        id: `jobs/<job id>`.
        commit: the SHA-256 of the job's manifest, which lists the SHA-256 of every other file,
            cut to the length of a git commit; clients take nothing longer.
        files: by path.
    """

    id: str
    commit: str
    files: tuple[Artifact, ...]

    def under(self, folder: str) -> list[Artifact]:
        """The files of a folder and below; of the whole repository for ``""``."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        return [file for file in self.files if file.path.startswith(prefix)]

    def folders(self, folder: str) -> list[str]:
        """Every folder below a folder, by path."""
        depth = folder.rstrip("/").count("/") + 1 if folder else 0
        found = set()
        for file in self.under(folder):
            parts = file.path.split("/")[:-1]
            found |= {"/".join(parts[:end]) for end in range(depth + 1, len(parts) + 1)}
        return sorted(found)

    def oid(self, path: str) -> str:
        """A stable object id for a folder; nothing can be asked by it."""
        return hashlib.sha256(f"{self.commit}/{path}".encode()).hexdigest()[:OID_LENGTH]


def open_repository(
    connection: Connection, caller: Caller, namespace: str, name: str, revision: str = BRANCH
) -> Repository:
    """The repository of a job that has succeeded.

    Raises:
        JobNotFoundError: no job has that id.
        RepositoryNotFoundError: the namespace is another, or the job has no files (yet).
        RevisionNotFoundError: neither `main` nor the job's commit.
    """
    if namespace != NAMESPACE:
        raise RepositoryNotFoundError(f"repositories here are called {NAMESPACE}/<job id>")
    return _at(f"{namespace}/{name}", artifacts.listing(connection, caller, name), revision)


def _at(repo_id: str, files: Sequence[Artifact], revision: str) -> Repository:
    manifests = [file for file in files if file.path == MANIFEST]
    if not manifests:
        raise RepositoryNotFoundError(f"{repo_id} has no files; has the job succeeded?")
    commit = manifests[0].sha256[:OID_LENGTH]
    if revision not in {BRANCH, commit}:
        raise RevisionNotFoundError(
            f"{repo_id} has no revision {revision!r}, only {BRANCH!r} and {commit!r}"
        )
    return Repository(repo_id, commit, tuple(files))
