"""`/v1/methods`: what can be asked for."""

from fastapi import APIRouter, Depends

from app.api.deps import authenticated
from app.api.schemas.methods import MethodList, MethodOut
from app.domain.methods import METHODS

router = APIRouter(prefix="/v1/methods", tags=["methods"], dependencies=[Depends(authenticated)])


@router.get("")
def listing() -> MethodList:
    """List the pruning methods with their parameters as JSON Schema."""
    return MethodList(methods=[MethodOut.of(METHODS[name]) for name in sorted(METHODS)])
