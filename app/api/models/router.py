"""`/v1/models`: finished jobs under names, version by version."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.http.deps import Reader, Submitter
from app.api.http.transactions import Transaction, TransactionRoute
from app.api.models.schemas import ModelPage, VersionList, VersionOut, VersionRequest
from app.domain.models import ModelName
from app.services import models

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=TransactionRoute)

Number = Annotated[int, Path(ge=1, lt=2**31)]


@router.get("")
def page(
    caller: Reader,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=96)] = None,
) -> ModelPage:
    """List the project's models, each with its newest version."""
    found, next_cursor = models.page(transaction, caller, limit=limit, cursor=cursor)
    return ModelPage(models=[VersionOut.of(each) for each in found], next_cursor=next_cursor)


@router.get("/{name}")
def versions(name: ModelName, caller: Reader, transaction: Transaction) -> VersionList:
    """List all versions of a model, newest first."""
    found = models.versions(transaction, caller, name)
    return VersionList(versions=[VersionOut.of(each) for each in found])


@router.post("/{name}/versions", status_code=HTTPStatus.CREATED)
def publish(
    name: ModelName, wanted: VersionRequest, caller: Submitter, transaction: Transaction
) -> VersionOut:
    """Make a finished job the next version; its files are kept as long as it is one."""
    return VersionOut.of(models.publish(transaction, caller, name, wanted.job_id))


@router.get("/{name}/versions/{version}")
def get(name: ModelName, version: Number, caller: Reader, transaction: Transaction) -> VersionOut:
    """Look at one version."""
    return VersionOut.of(models.get(transaction, caller, name, version))


@router.delete("/{name}/versions/{version}", status_code=HTTPStatus.NO_CONTENT)
def withdraw(name: ModelName, version: Number, caller: Submitter, transaction: Transaction) -> None:
    """Take a version back; its number is not given again, and its job stays."""
    models.withdraw(transaction, caller, name, version)
