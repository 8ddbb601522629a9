"""Tells a receiver of OpenLineage about the jobs of all projects, by the way of webhooks.

The receiver is an endpoint of the installation's own: what it is told is queued in the transaction
that changes a job, and becomes an event of OpenLineage when it is sent.
"""

from dataclasses import dataclass, replace
from importlib.metadata import version

from pydantic import SecretStr
from sqlalchemy import Connection, Engine

from app.db import jobs, webhooks
from app.domain.lineage import EVENTS, run_event
from app.domain.webhooks import DeliveryState, Dispatch, Receipt
from app.webhooks import sender


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where events go to.

    Attributes:
        url: of the receiver; empty: nobody is told.
        namespace: of jobs, data sets and results.
        api_key: what the receiver wants as a bearer token.
    """

    url: str = ""
    namespace: str = "secateur"
    api_key: SecretStr | None = None

    def enrol(self, engine: Engine) -> None:
        """Have jobs tell the receiver from now on, or no longer where there is none."""
        with engine.begin() as connection:
            webhooks.set_own(connection, self.url, EVENTS, sender.new_secret())

    def translated(self, connection: Connection, dispatch: Dispatch) -> Dispatch | None:
        """The message as an event of OpenLineage; None where its job was deleted meanwhile."""
        job = jobs.find(connection, dispatch.payload["data"]["job_id"])
        if job is None:
            gone = Receipt(None, "the job was deleted before")
            webhooks.settle_delivery(connection, dispatch, gone, DeliveryState.FAILED, None)
            return None
        event = run_event(
            job,
            dispatch.payload,
            namespace=self.namespace,
            version=version("secateur"),
        )
        key = self.api_key.get_secret_value() if self.api_key else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return replace(dispatch, payload=event, headers=headers)
