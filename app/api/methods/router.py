"""`/v1/methods`: what can be asked for."""

from fastapi import APIRouter

from app.api.http.endpoints import Reader, TransactionRoute
from app.api.methods.schemas import MethodList, MethodOut
from app.recipes.methods import METHODS

router = APIRouter(prefix="/v1/methods", tags=["methods"], route_class=TransactionRoute)


@router.get("")
def list_methods(_: Reader) -> MethodList:
    """List the pruning methods with their parameters as JSON Schema."""
    return MethodList(methods=[MethodOut.of(METHODS[name]) for name in sorted(METHODS)])
