"""The health of a process on the wire."""

from pydantic import BaseModel, Field


class Health(BaseModel):
    """`ok`, or what is wrong, per dependency."""

    status: str
    checks: dict[str, str]
    set_aside: dict[str, int] = Field(
        default={},
        description="how many items each loop of maintenance has failed on and tries again later",
    )
