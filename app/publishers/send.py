"""Sends a parcel to a destination of any kind, and says in one line what went wrong."""

import os

from app.domain.publications import (
    Destination,
    HuggingFace,
    MlFlow,
    OciRegistry,
    PublishingError,
)
from app.messages import printable
from app.publishers.publication_files import Parcel

MAX_REASON = 500  # characters


def send(destination: Destination, target: str, parcel: Parcel) -> str:
    """Publish a parcel; returns where it is now.

    Raises:
        PublishingError: it did not arrive; the message has no secret in it.
    """
    secret = _secret(destination)
    try:
        if isinstance(destination, HuggingFace):
            # Loading the hub's client takes a moment.
            from app.publishers import hugging_face  # noqa: PLC0415

            return hugging_face.push(destination, secret, target, parcel)
        if isinstance(destination, MlFlow):
            from app.publishers import mlflow  # noqa: PLC0415  one of the four is needed

            return mlflow.push(destination, secret, target, parcel)
        if isinstance(destination, OciRegistry):
            from app.publishers import oci  # noqa: PLC0415  the same

            return oci.push(destination, secret, target, parcel)
        from app.publishers import s3  # noqa: PLC0415  loading obstore takes a moment

        return s3.push(destination, secret, target, parcel)
    except Exception as error:  # noqa: BLE001  a server's odd answer raises anything
        reason = str(error).strip() or type(error).__name__
        for part in (secret, *secret.split(":")):
            reason = reason.replace(part, "***") if part else reason
        raise PublishingError(printable(reason.splitlines()[0], MAX_REASON)) from None


def _secret(destination: Destination) -> str:
    if destination.secret is None:
        return ""
    try:
        return os.environ[destination.secret]
    except KeyError:
        raise PublishingError(
            f"the maintenance process has no variable {destination.secret}"
        ) from None
