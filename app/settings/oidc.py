"""Who else than keys may say who calls."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.domain.projects import Scope
from app.settings.section import PositiveSeconds, Section
from app.urls import UrlTextOrNone, is_private

# Whoever can verify these cannot make them.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]


class Oidc(Section):
    """Tokens of an OpenID Connect issuer, which the API accepts beside API keys."""

    issuer: UrlTextOrNone = Field(
        default="",
        description="URL of the issuer, letter by letter as its tokens have it in `iss`; https, or "
        "http on this machine; empty: API keys alone",
    )
    audience: str = Field(
        default="",
        description="what a token must have in `aud`: the name of this service at the issuer",
    )
    clients: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="clients whose tokens are accepted (`azp`, `client_id` or `appid`), separated "
        "by ','; empty: all that get a token for the audience",
    )
    algorithms: Annotated[tuple[Algorithm, ...], NoDecode] = Field(
        default=("RS256", "PS256", "ES256", "ES384", "Ed25519"),
        min_length=1,
        description="signatures that are accepted, separated by ',': RS256, RS384, RS512, PS256, "
        "PS384, PS512, ES256, ES384, ES512, Ed25519",
    )
    project_claim: str = Field(
        default="project",
        min_length=1,
        description="claim that names the project: a text, or a list in which one value does; dots "
        "lead into objects, as in `resource_access.secateur.roles`",
    )
    projects: dict[str, str] = Field(
        default={},
        description="JSON: names of projects by values of that claim, others mean nothing; empty: "
        "the value is the name",
    )
    scope_claim: str = Field(
        default="scope",
        min_length=1,
        description="claim of the scopes: a list, or a text separated by spaces",
    )
    scopes: dict[str, Scope] = Field(
        default={f"secateur:{scope}": scope for scope in Scope},
        min_length=1,
        description="JSON: scopes (read, submit, admin) by values of that claim; the highest one "
        "counts",
    )
    leeway_seconds: int = Field(
        default=30, ge=0, le=300, description="by how much the issuer's clock may be off"
    )
    deadline_seconds: PositiveSeconds = Field(
        default=5, le=30, description="how long the issuer may take to tell its keys"
    )

    client_id: str = Field(
        default="",
        description="the console's name at the issuer, for people who sign in there; empty: the "
        "console is for keys alone",
    )
    client_secret: SecretStr = Field(
        default=SecretStr(""),
        description="its secret; empty where the issuer takes it for a public client",
    )
    sign_in_scope: str = Field(
        default="openid secateur:read secateur:submit secateur:admin",
        pattern=r"^(.* )?openid( .*)?$",
        description="the scope that a sign-in asks for, separated by spaces, `openid` among them",
    )
    sign_in_parameters: dict[str, str] = Field(
        default={},
        description='JSON: what else the issuer is to be asked with, as {"audience": "secateur"}',
    )
    session_seconds: int = Field(
        default=3600,
        ge=60,
        description="how long a sign-in at the issuer lasts; what the issuer takes away meanwhile "
        "counts from the next one on",
    )

    @property
    def accepted_clients(self) -> tuple[str, ...]:
        """The clients that are listed and the console; none where none is listed."""
        console = (self.client_id,) if self.clients and self.client_id else ()
        return (*self.clients, *console)

    @field_validator("clients", "algorithms", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [each.strip() for each in value.split(",") if each.strip()]

    @field_validator("issuer")
    @classmethod
    def _safe(cls, value: str) -> str:
        if value and ("?" in value or not is_private(value)):
            raise ValueError("the issuer is an https address without a query")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer and not self.audience:
            raise ValueError("an issuer needs an audience: else tokens for others would do")
        if self.client_id and not self.issuer:
            raise ValueError("a client_id needs an issuer")
        return self
