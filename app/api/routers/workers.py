"""`/v1/workers`: what jobs can run on."""

from fastapi import APIRouter

from app.api.deps import Reader, Transaction
from app.api.schemas.workers import WorkerClassList, WorkerClassOut
from app.services import machines

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("")
def listing(_: Reader, transaction: Transaction) -> WorkerClassList:
    """List the worker classes with what their machines can do."""
    found = machines.listing(transaction)
    return WorkerClassList(workers=[WorkerClassOut.of(each) for each in found])
