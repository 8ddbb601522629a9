"""The health of a process on the wire."""

from pydantic import BaseModel


class Health(BaseModel):
    """`ok`, or what is wrong, per dependency."""

    status: str
    checks: dict[str, str]
