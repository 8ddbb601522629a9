"""`/v1/workers`: what jobs can run on."""

from fastapi import APIRouter

from app.api.deps import Operator, Reader, WithRules
from app.api.schemas.workers import RetiredOut, WorkerClassList, WorkerClassOut
from app.api.transactions import Transaction, TransactionRoute
from app.services import machines, waiting

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=TransactionRoute)


@router.get("")
def listing(_: Reader, transaction: Transaction) -> WorkerClassList:
    """List the worker classes with what their machines can do."""
    found = machines.listing(transaction)
    return WorkerClassList(workers=[WorkerClassOut.of(each) for each in found])


@router.delete("/{name}")
def retire(name: str, caller: Operator, rules: WithRules, transaction: Transaction) -> RetiredOut:
    """Forget a class that is gone; jobs that wait for it go to another, or fail with the reason."""
    return RetiredOut.of(waiting.retire(transaction, caller, name, rules))
