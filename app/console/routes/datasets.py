"""`/console/datasets`: the project's data sets, and those that come with the service."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, BackgroundTasks, Query, Response
from fastapi.responses import RedirectResponse

from app.api.datasets.receiving import limits_of, received, store_of
from app.api.http.endpoints import Resources, WithResources
from app.console.visits import CSRF, ROOT, Arriving, PageRoute, SignedIn, Visit, address_of
from app.domain.projects import Caller, Scope
from app.recipes.data import FIELDS
from app.services import datasets
from app.services.jobs.garbage_collection import discard_dataset
from app.uploads.errors import DatasetError

DATASETS = f"{ROOT}/datasets"
router = APIRouter(prefix=DATASETS, route_class=PageRoute, include_in_schema=False)

PAGE = 50


Cursor = Annotated[str | None, Query(max_length=80)]


@router.get("")
def listing(
    visit: SignedIn,
    resources: WithResources,
    cursor: Cursor = None,
    uploaded: Cursor = None,
) -> Response:
    """List data sets, by id."""
    return _listed(visit, resources, cursor=cursor, uploaded=uploaded)


@router.post("")
async def upload(visit: Arriving, resources: WithResources) -> Response:
    """Upload a file from a form; what is wrong with it is told above the form."""
    caller = await run_sync(_uploader, visit)
    store, limits = store_of(resources), limits_of(resources, caller)
    try:
        async with received(visit.request, limits, store) as given:
            visit.prove(given.fields.get(CSRF, ""))
            work = partial(datasets.upload, resources.engine, caller, store, given.file, limits)
            found, _ = await resources.uploads.run(caller.project_id, work)
    except DatasetError as error:
        return await run_sync(partial(_listed, visit, resources, wrong=error))
    return RedirectResponse(f"{DATASETS}?uploaded={found.id}", HTTPStatus.SEE_OTHER)


@router.post("/{dataset_id}/delete")
def delete(
    dataset_id: str, visit: SignedIn, resources: WithResources, after: BackgroundTasks
) -> Response:
    """Delete a data set; jobs that name it already still run."""
    store = store_of(resources)
    with visit.admitted(Scope.SUBMIT) as desk:
        datasets.remove(desk.connection, desk.caller, store, dataset_id)
    after.add_task(discard_dataset, resources.engine, store, dataset_id)
    return RedirectResponse(DATASETS, HTTPStatus.SEE_OTHER, background=after)


def _uploader(visit: Visit) -> Caller:
    with visit.admitted(Scope.SUBMIT) as desk:
        return desk.caller


def _listed(
    visit: Visit,
    resources: Resources,
    *,
    cursor: str | None = None,
    uploaded: str | None = None,
    wrong: DatasetError | None = None,
) -> Response:
    store = store_of(resources)
    with visit.admitted() as desk:
        found, following = datasets.page(
            desk.connection, desk.caller, store, limit=PAGE, cursor=cursor
        )
    return desk.page(
        "datasets.html",
        wrong.status if wrong else HTTPStatus.OK,
        datasets=found,
        uploaded=uploaded,
        wrong=wrong,
        most=limits_of(resources, desk.caller).bytes,
        builtin=[(name.value, sorted(fields)) for name, fields in FIELDS.items()],
        cursor=cursor,
        first=DATASETS,
        following=following and f"{DATASETS}?cursor={following}",
        address=address_of(visit.request),
    )
