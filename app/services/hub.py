"""Finished jobs and models as model repositories of the Hugging Face Hub."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection

from app.db import artifacts, models
from app.domain.jobs import Artifact
from app.domain.projects import Caller
from app.errors import RepositoryNotFoundError, RevisionNotFoundError
from app.services.jobs.service import get as get_job

JOBS = "jobs"
MODELS = "models"
BRANCH = "main"
MANIFEST = "manifest.json"
OID_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Revision:
    """What a commit goes by.

    Attributes:
        name: `main`, or `v3` for the third version of a model.
        commit: see `Repository`.
        job_id: whose files it has.
    """

    name: str
    commit: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit of a repository.

    Attributes:
        id: `jobs/<job id>` or `models/<name>`.
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
    """The repository of a job that has succeeded, or of a model.

    Raises:
        JobNotFoundError: no job has that id.
        RepositoryNotFoundError: the namespace is another, the job has no files (yet), or the
            project has no such model.
        RevisionNotFoundError: there is no such branch, version or commit.
    """
    known = revisions(connection, caller, namespace, name)
    for found in known:
        if revision in {found.name, found.commit}:
            files = artifacts.of_job(connection, found.job_id)
            return Repository(f"{namespace}/{name}", found.commit, tuple(files))
    listed = ", ".join(f"{found.name} ({found.commit})" for found in known[:8])
    raise RevisionNotFoundError(f"{namespace}/{name} has no revision {revision!r}, but {listed}")


def revisions(connection: Connection, caller: Caller, namespace: str, name: str) -> list[Revision]:
    """The branch, then the versions, newest first; a job has no versions.

    Raises:
        JobNotFoundError, RepositoryNotFoundError: as `open_repository`.
    """
    if namespace == JOBS:
        jobs = {BRANCH: get_job(connection, caller, name).id}
    elif namespace == MODELS:
        versions = models.versions(connection, caller.project_id, name)
        jobs = {version.revision: version.job_id for version in versions}
        jobs = dict([(BRANCH, versions[0].job_id), *jobs.items()]) if versions else {}
    else:
        raise RepositoryNotFoundError(
            f"repositories here are called {JOBS}/<job id> or {MODELS}/<name of a model>"
        )
    digests = artifacts.digests(connection, list(jobs.values()), MANIFEST)
    found = [
        Revision(revision, digests[job_id][:OID_LENGTH], job_id)
        for revision, job_id in jobs.items()
        if job_id in digests
    ]
    if not found:
        raise RepositoryNotFoundError(f"{namespace}/{name} has no files; has the job succeeded?")
    return found
