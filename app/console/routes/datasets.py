"""`/console/datasets`: the project's data sets, and those that come with the service."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.http.endpoints import WithRules
from app.console.visits import ROOT, PageRoute, SignedIn, address_of
from app.recipes.data import FIELDS
from app.services import datasets

DATASETS = f"{ROOT}/datasets"
router = APIRouter(prefix=DATASETS, route_class=PageRoute, include_in_schema=False)

PAGE = 50


@router.get("")
def listing(
    visit: SignedIn,
    rules: WithRules,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """List data sets, by id."""
    with visit.admitted() as desk:
        found, following = datasets.page(
            desk.connection, desk.caller, rules.datasets, limit=PAGE, cursor=cursor
        )
    return desk.page(
        "datasets.html",
        datasets=found,
        builtin=[(name.value, sorted(fields)) for name, fields in FIELDS.items()],
        cursor=cursor,
        first=DATASETS,
        following=following and f"{DATASETS}?cursor={following}",
        address=address_of(visit.request),
    )
