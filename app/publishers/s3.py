"""Copies a job's files under a prefix of a bucket."""

from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

from app.domain.publications import S3Prefix
from app.publishers.publication_files import Parcel

if TYPE_CHECKING:
    from obstore.store import S3Config

PART = 16 << 20  # bytes


def push(destination: S3Prefix, secret: str, target: str, parcel: Parcel) -> str:
    """Upload the files, the manifest last; returns the address of the folder."""
    key_id, _, key = secret.partition(":")
    config: S3Config = {
        "access_key_id": key_id,
        "secret_access_key": key,
        "region": destination.region,
        "checksum_algorithm": "SHA256",
    }
    if destination.endpoint:
        config |= {"endpoint": destination.endpoint, "virtual_hosted_style_request": False}
    bucket = S3Store.from_url(
        destination.url,
        config=config,
        client_options={"allow_http": destination.endpoint.startswith("http://")},
    )
    folder = f"{target}/{parcel.job.id}"
    for path, file in parcel.files.items():
        obstore.put(bucket, f"{folder}/{path}", file, chunk_size=PART, max_concurrency=4)
    return f"{destination.url.rstrip('/')}/{folder}"
