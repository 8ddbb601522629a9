"""`/v1/keys`: the API keys of the caller's project."""

from datetime import timedelta
from http import HTTPStatus

from fastapi import APIRouter

from app.api.http.deps import Admin
from app.api.http.transactions import Transaction, TransactionRoute
from app.api.projects.schemas import KeyList, KeyOut, KeyRequest, NewKeyOut, Rotation
from app.services.projects import keys

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=TransactionRoute)


@router.get("")
def listing(caller: Admin, transaction: Transaction) -> KeyList:
    """List the project's keys, ended ones included."""
    return KeyList(keys=[KeyOut.of(key) for key in keys.listing(transaction, caller)])


@router.post("", status_code=HTTPStatus.CREATED)
def create(wanted: KeyRequest, caller: Admin, transaction: Transaction) -> NewKeyOut:
    """Make a key; its secret is in this answer and nowhere else."""
    made = keys.create_for(
        transaction,
        caller,
        name=wanted.name,
        scope=wanted.scope,
        expires_at=wanted.expires_at,
    )
    return NewKeyOut.of(made)


@router.post("/{key_id}/rotate", status_code=HTTPStatus.CREATED)
def rotate(
    key_id: str, caller: Admin, transaction: Transaction, rotation: Rotation | None = None
) -> NewKeyOut:
    """Replace a key by a new one of the same name, scope and expiry."""
    grace = timedelta(seconds=(rotation or Rotation()).grace_seconds)
    return NewKeyOut.of(keys.rotate(transaction, caller, key_id, grace=grace))


@router.delete("/{key_id}")
def revoke(key_id: str, caller: Admin, transaction: Transaction) -> KeyOut:
    """End a key at once."""
    return KeyOut.of(keys.revoke(transaction, caller, key_id))
