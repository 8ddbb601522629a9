"""The base of everything that a client may send and that is stored."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
