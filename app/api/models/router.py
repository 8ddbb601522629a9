"""`/v1/models`: finished jobs under names, by version; the publications of a job's files.

`/v1/local-models`: what lies on the service's machines to be pruned.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.http.endpoints import (
    Reader,
    Submitter,
    Transaction,
    TransactionRoute,
    WithRules,
)
from app.api.models.schemas import (
    LocalModelList,
    LocalModelOut,
    ModelPage,
    PublicationList,
    PublicationOut,
    VersionList,
    VersionOut,
    VersionRequest,
)
from app.domain.models import ModelName
from app.planning.model_files.files import local_models
from app.services import models
from app.services.publications import service as publishing

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=TransactionRoute)

Number = Annotated[int, Path(ge=1, lt=2**31)]


@router.get("")
def list_models(
    caller: Reader,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=96)] = None,
) -> ModelPage:
    """List the project's models, each with its newest version."""
    found, next_cursor = models.page(transaction, caller, limit=limit, cursor=cursor)
    return ModelPage(models=[VersionOut.of(each) for each in found], next_cursor=next_cursor)


@router.get("/{name}")
def list_model_versions(name: ModelName, caller: Reader, transaction: Transaction) -> VersionList:
    """List all versions of a model, newest first."""
    found = models.versions(transaction, caller, name)
    return VersionList(versions=[VersionOut.of(each) for each in found])


@router.post("/{name}/versions", status_code=HTTPStatus.CREATED)
def create_model_version(
    name: ModelName, wanted: VersionRequest, caller: Submitter, transaction: Transaction
) -> VersionOut:
    """Make a finished job the next version; its files are kept as long as it is one."""
    return VersionOut.of(models.publish(transaction, caller, name, wanted.job_id))


@router.get("/{name}/versions/{version}")
def get_model_version(
    name: ModelName, version: Number, caller: Reader, transaction: Transaction
) -> VersionOut:
    """Look at one version."""
    return VersionOut.of(models.get(transaction, caller, name, version))


@router.delete("/{name}/versions/{version}", status_code=HTTPStatus.NO_CONTENT)
def delete_model_version(
    name: ModelName, version: Number, caller: Submitter, transaction: Transaction
) -> None:
    """Take a version back; its number is not given again, and its job stays."""
    models.withdraw(transaction, caller, name, version)


local_router = APIRouter(prefix="/v1/local-models", tags=["models"], route_class=TransactionRoute)


@local_router.get("")
def list_local_models(_: Reader, rules: WithRules) -> LocalModelList:
    """List the local models that a job may name, by name; those of the hub are not among them."""
    found = local_models(rules.outlines.roots)
    return LocalModelList(models=[LocalModelOut(name=name) for name in found])


publication_router = APIRouter(
    prefix="/v1/jobs/{job_id}/publications", tags=["artifacts"], route_class=TransactionRoute
)


@publication_router.get("")
def list_publications(job_id: str, caller: Reader, transaction: Transaction) -> PublicationList:
    """List what became of the job's publications; empty until it has succeeded."""
    found = publishing.listing(transaction, caller, job_id)
    return PublicationList(publications=[PublicationOut.of(each) for each in found])


@publication_router.post("/{publication_id}/retry", status_code=HTTPStatus.ACCEPTED)
def retry_publication(
    job_id: str, publication_id: str, caller: Submitter, transaction: Transaction
) -> PublicationOut:
    """Start a publication over, at once."""
    return PublicationOut.of(publishing.retry(transaction, caller, job_id, publication_id))
