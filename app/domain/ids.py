"""Identifiers: a prefix that tells the kind, and a UUIDv7 so that ids sort by creation time."""

from uuid_utils import uuid7


def new_id(prefix: str) -> str:
    """A fresh id such as `job_0199f0c4e5b37d1c8a...`."""
    return f"{prefix}_{uuid7().hex}"
