"""The reading half of the Hugging Face Hub's API, so that its clients download from here.

With `HF_ENDPOINT=http://host:port` and an API key as `HF_TOKEN`, `jobs/<job id>` and
`models/<name>` are model repositories for `huggingface_hub`, `transformers` and everything built on
them.
"""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response

from app.api.http.endpoints import Reader, Transaction
from app.api.http.files import RESPONSES, WithSender, etag
from app.api.hub.route import HubRoute, refuse
from app.api.hub.schemas import Entry, FileEntry, FolderEntry, ModelInfo, Refs
from app.errors import ArtifactNotFoundError
from app.services.hub import BRANCH, Repository, open_repository, revisions

router = APIRouter(tags=["hub"], route_class=HubRoute)

MODEL = "/api/models/{namespace}/{name}"
FILE = "/{namespace}/{name}/resolve/{revision}/{path:path}"


@dataclass(frozen=True, slots=True)
class Address:
    """Of a repository, as the path tells it."""

    namespace: str
    name: str
    revision: str = BRANCH

    def open(self, caller: Reader, transaction: Transaction) -> Repository:
        """The repository, if the caller's project has it."""
        return open_repository(transaction, caller, self.namespace, self.name, self.revision)


At = Annotated[Address, Depends()]


async def _body(request: Request) -> bytes:
    return await request.body()


@router.get(MODEL)
@router.get(MODEL + "/revision/{revision}", name="get_hub_revision")
def get_hub_model(at: At, caller: Reader, transaction: Transaction) -> ModelInfo:
    """Tell the commit and the names of the files."""
    return ModelInfo.of(at.open(caller, transaction))


@router.get(MODEL + "/refs")
def list_hub_refs(namespace: str, name: str, caller: Reader, transaction: Transaction) -> Refs:
    """List the branch, and the versions as tags."""
    return Refs.of(revisions(transaction, caller, namespace, name))


@router.post(MODEL + "/paths-info/{revision}")
def get_hub_paths(
    at: At, form: Annotated[bytes, Depends(_body)], caller: Reader, transaction: Transaction
) -> list[Entry]:
    """Tell of some files and folders; those that are not there are left out."""
    fields = parse_qs(form.decode(errors="replace"))
    wanted = {path.rstrip("/") for path in fields.get("paths", [])}
    entries = _entries(at.open(caller, transaction), "")
    return [entry for entry in entries if entry.path in wanted]


@router.get(MODEL + "/tree/{revision}")
@router.get(MODEL + "/tree/{revision}/{folder:path}", name="list_hub_folder")
def list_hub_tree(
    at: At, caller: Reader, transaction: Transaction, folder: str = "", *, recursive: bool = False
) -> list[Entry]:
    """List a folder: its folders, then its files."""
    repository = at.open(caller, transaction)
    listed = _entries(repository, folder)
    if not listed:
        raise ArtifactNotFoundError(f"{repository.id} has no folder {folder!r}")
    depth = folder.rstrip("/").count("/") + 1 if folder else 0
    return [entry for entry in listed if recursive or entry.path.count("/") == depth]


def _entries(repository: Repository, folder: str) -> list[Entry]:
    folders = repository.folders(folder)
    entries = [FolderEntry(path=path, oid=repository.oid(path)) for path in folders]
    return [*entries, *(FileEntry.of(file) for file in repository.under(folder))]


@router.head(FILE, include_in_schema=False)
@router.get(FILE, response_class=Response, responses=RESPONSES)
def download_hub_file(
    at: At, path: str, caller: Reader, transaction: Transaction, sender: WithSender
) -> Response:
    """Download one file; honours Range and If-Range."""
    repository = at.open(caller, transaction)
    commit = {"X-Repo-Commit": repository.commit}
    for file in repository.files:
        if file.path == path:
            linked = {"X-Linked-Etag": etag(file), "X-Linked-Size": str(file.size)}
            return sender.send(file, commit | linked)
    # With the commit beside it, clients remember that there is no such file.
    return refuse(ArtifactNotFoundError(f"{repository.id} has no file {path!r}"), **commit)
