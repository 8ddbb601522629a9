"""`/v1/sweeps`: methods x sparsities x recipes on one model."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Response

from app.api.http.endpoints import (
    IdempotencyKey,
    Queueing,
    Reader,
    Submitter,
    Transaction,
    TransactionRoute,
    Watcher,
    WithResources,
    WithRules,
    once,
)
from app.api.http.feeds import Wait, until
from app.api.sweeps.schemas import Leaderboard, SweepOut, SweepPage
from app.domain.sweeps import Sweep, SweepRequest
from app.recipes.evaluation import MetricName
from app.services.lifecycle.leaderboard import rank_members
from app.services.sweeps import service as sweeps

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], route_class=TransactionRoute)


def _out(transaction: Transaction, sweep: Sweep) -> SweepOut:
    return SweepOut.of(sweep, sweeps.counts(transaction, [sweep])[sweep.id])


@router.post("", status_code=HTTPStatus.ACCEPTED)
def create_sweep(
    request: SweepRequest,
    response: Response,
    caller: Submitter,
    rules: WithRules,
    transaction: Queueing,
    idempotency_key: IdempotencyKey = None,
) -> SweepOut:
    """Queue a job for every combination of method, recipe and sparsity, or none at all.

    What does not depend on the sparsity is measured once: ECoFLaP's scores, MULTIFLOW's
    activations. The first of the jobs concerned measures, the others start when it has ended.
    """

    def make() -> SweepOut:
        return _out(transaction, sweeps.submit(transaction, caller, request, rules))

    sweep = once(
        response,
        transaction,
        caller,
        key=idempotency_key,
        payload=["sweep", request],
        make=make,
        again=lambda made: _out(transaction, sweeps.get(transaction, caller, made)),
    )
    response.headers["Location"] = f"/v1/sweeps/{sweep.id}"
    return sweep


@router.get("")
def list_sweeps(
    caller: Reader,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> SweepPage:
    """List sweeps, newest first."""
    found, next_cursor = sweeps.page(transaction, caller, limit=limit, cursor=cursor)
    counts = sweeps.counts(transaction, found)
    out = [SweepOut.of(sweep, counts[sweep.id]) for sweep in found]
    return SweepPage(sweeps=out, next_cursor=next_cursor)


@router.get("/{sweep_id}")
async def get_sweep(
    sweep_id: str, resources: WithResources, caller: Watcher, wait: Wait = 0
) -> SweepOut:
    """Look at one sweep, now or when it has ended."""

    def look() -> SweepOut:
        with resources.engine.connect() as connection:
            return _out(connection, sweeps.get(connection, caller, sweep_id))

    return await until(
        resources.hub, sweep_id, look, ended=lambda sweep: sweep.status.terminal, wait=wait
    )


@router.get("/{sweep_id}/leaderboard")
def get_leaderboard(
    sweep_id: str,
    caller: Reader,
    transaction: Transaction,
    metric: Annotated[
        MetricName | None, Query(description="by default the metric of the objective")
    ] = None,
) -> Leaderboard:
    """Compare the jobs of a sweep, the best first."""
    sweep = sweeps.get(transaction, caller, sweep_id)
    return Leaderboard.of(rank_members(transaction, sweep, metric))


@router.post("/{sweep_id}/cancel")
def cancel_sweep(sweep_id: str, caller: Submitter, transaction: Transaction) -> SweepOut:
    """Stop all jobs of a sweep: queued ones at once, running ones at their next block."""
    return _out(transaction, sweeps.cancel(transaction, caller, sweep_id))


@router.delete("/{sweep_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_sweep(
    sweep_id: str,
    resources: WithResources,
    caller: Submitter,
    transaction: Transaction,
    after: BackgroundTasks,
) -> None:
    """Remove an ended sweep with its jobs, their events and files."""
    for job in sweeps.delete(transaction, caller, sweep_id):
        # Runs after the commit; where the process dies before, maintenance finds the files.
        after.add_task(resources.store.discard, job.id, job.attempt)
