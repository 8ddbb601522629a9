"""`/v1/jobs/{id}/publications`: where a job's files were sent."""

from http import HTTPStatus

from fastapi import APIRouter

from app.api.http.deps import Reader, Submitter
from app.api.http.transactions import Transaction, TransactionRoute
from app.api.models.schemas import PublicationList, PublicationOut
from app.services.publications import service as publishing

router = APIRouter(
    prefix="/v1/jobs/{job_id}/publications", tags=["artifacts"], route_class=TransactionRoute
)


@router.get("")
def listing(job_id: str, caller: Reader, transaction: Transaction) -> PublicationList:
    """List what became of the job's publications; empty until it has succeeded."""
    found = publishing.listing(transaction, caller, job_id)
    return PublicationList(publications=[PublicationOut.of(each) for each in found])


@router.post("/{publication_id}/retry", status_code=HTTPStatus.ACCEPTED)
def retry(
    job_id: str, publication_id: str, caller: Submitter, transaction: Transaction
) -> PublicationOut:
    """Start a publication over, at once."""
    return PublicationOut.of(publishing.retry(transaction, caller, job_id, publication_id))
