"""Entity tags (RFC 9110, section 8.8.3): changes only to the state that a client has seen."""

from app.errors import PreconditionError


def require(if_match: str | None, etag: str, named: str) -> None:
    """Let a change through if the client means this state, or does not say.

    Args:
        if_match: the value of If-Match; None does not restrict.
        etag: of the state there is.
        named: what the client wants to change, for the message.

    Raises:
        PreconditionError: it has changed since.
    """
    tags = {tag.strip() for tag in if_match.split(",")} if if_match else {"*"}
    if not tags & {"*", etag}:
        raise PreconditionError(f"{named} has changed: its ETag is {etag} now")
