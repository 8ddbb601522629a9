"""What the API alone reads."""

from pathlib import Path

from pydantic import Field

from app.settings.section import PositiveSeconds, Section


class Api(Section):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8321, ge=1, le=65535, description="port the API listens on")
    max_body_bytes: int = Field(
        default=1 << 20, ge=1024, description="largest request body accepted, in bytes"
    )
    max_connections: int = Field(
        default=1000,
        ge=10,
        description="clients connected at a time, and requests in work; beyond, connections that "
        "wait are closed and requests refused, but for health probes",
    )
    head_seconds: PositiveSeconds = Field(
        default=10, description="how long the head of a request may take to come"
    )
    idle_seconds: PositiveSeconds = Field(
        default=75,
        description="how long a connection stays open between two requests; longer than clients "
        "and load balancers keep theirs, or some find it closed while they send",
    )
    write_seconds: PositiveSeconds = Field(
        default=60,
        description="how long a client that downloads may read nothing before it is cut off",
    )
    body_seconds: PositiveSeconds = Field(
        default=30,
        description="how long a request body may take to come; a large one has a second more for "
        "every 4096 bytes that have come",
    )
    drain_seconds: PositiveSeconds = Field(
        default=3,
        description="how long requests may take to end once the API is asked to; downloads are cut "
        "then, long polls and event streams are answered at once",
    )
    keep_alive_seconds: PositiveSeconds = Field(
        default=15, description="a silent event stream sends a comment this often"
    )

    @property
    def url(self) -> str:
        """Where this machine reaches what listens on `host` and `port`."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
        host = everywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class Console(Section):
    """The pages for people that the API serves at `/console`."""

    session_seconds: PositiveSeconds = Field(
        default=12 * 3600, description="how long a sign-in lasts; revoking its key ends it at once"
    )
    signing_key: Path = Field(
        default=Path("console-signing-key"),
        description="file of the key that signs sessions, made where there is none (under "
        "data_dir); API processes that serve the same console share it",
    )
