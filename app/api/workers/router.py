"""`/v1/workers`: what jobs can run on."""

from fastapi import APIRouter

from app.api.http.endpoints import Operator, Reader, Transaction, TransactionRoute, WithRules
from app.api.workers.schemas import RetiredOut, WorkerClassList, WorkerClassOut, WorkerOut
from app.services import workers
from app.services.jobs import stranded

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=TransactionRoute)


@router.get("")
def list_workers(caller: Reader, transaction: Transaction) -> WorkerClassList:
    """List the worker classes with what their machines can do, and their processes one by one."""
    return WorkerClassList(
        workers=[WorkerClassOut.of(each) for each in workers.listing(transaction)],
        processes=[WorkerOut.of(each) for each in workers.processes(transaction, caller)],
    )


@router.delete("/{name}")
def retire_worker(
    name: str, caller: Operator, rules: WithRules, transaction: Transaction
) -> RetiredOut:
    """Forget a class that is gone; jobs that wait for it go to another, or fail with the reason."""
    return RetiredOut.of(stranded.retire(transaction, caller, name, rules))
