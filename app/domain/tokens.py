"""Tokens of an OpenID Connect issuer: what their claims grant here, and why they are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from app.domain.projects import INCLUDED, PageError, Scope
from app.errors import AccessError, SystemFaultError

SUBJECT_PREFIX = "oidc:"
_MAX_SUBJECT = 255  # characters, as OpenID Connect has it


class TokenError(AccessError):
    """The token proves nothing here."""

    status = HTTPStatus.UNAUTHORIZED
    challenge = 'Bearer error="invalid_token"'


class TokenInvalidError(TokenError):
    """The token is malformed, not signed by the issuer, not yet valid, or of another kind."""

    code = "token_invalid"


class TokenExpiredError(TokenError):
    """The token has expired; ask the issuer for a new one."""

    code = "token_expired"


class TokenIssuerError(TokenError):
    """The token is of another issuer."""

    code = "token_issuer_wrong"


class TokenAudienceError(TokenError):
    """The token is meant for another service."""

    code = "token_audience_wrong"


class TokenGrantError(TokenError):
    """The token is genuine, and does not allow this."""

    status = HTTPStatus.FORBIDDEN
    challenge = 'Bearer error="insufficient_scope"'


class TokenClientError(TokenGrantError):
    """The token was given to a client that may not use this service."""

    code = "token_client_not_allowed"


class TokenProjectMissingError(TokenGrantError):
    """The token names no project, or several."""

    code = "token_project_missing"


class TokenProjectUnknownError(TokenGrantError):
    """The token names a project that does not exist."""

    code = "token_project_unknown"


class TokenScopeMissingError(TokenGrantError):
    """The token grants no scope of this service."""

    code = "token_scope_missing"


class IssuerUnavailableError(SystemFaultError):
    """The issuer's keys cannot be fetched, so the token cannot be verified right now."""

    code = "issuer_unavailable"
    retry_after = 5


class SignInError(PageError):
    """Signing in to the console at the issuer did not succeed."""

    code = "sign_in_failed"
    status = HTTPStatus.UNAUTHORIZED


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token says.

    Attributes:
        subject: who, as the audit log has it: `oidc:` and the claim `sub`.
        project: name of the project.
        scope: what may be done there.
    """

    subject: str
    project: str
    scope: Scope

    def is_of(self, claims: Mapping[str, Any]) -> bool:
        """Is the subject that of these claims?"""
        return self.subject == _subject(claims)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """How claims become a project and a scope.

    Attributes:
        project_claim: name of the claim; dots lead into objects where no claim has the whole name.
        projects: names of projects by the claim's values; where empty, the value is the name.
        scope_claim: likewise; a text is a list separated by spaces.
        scopes: scopes by the claim's values.
    """

    project_claim: str
    projects: Mapping[str, str]
    scope_claim: str
    scopes: Mapping[str, Scope]

    def grant(self, claims: Mapping[str, Any]) -> Grant:
        """What the claims of a verified token grant.

        Raises:
            TokenInvalidError: they do not say of whom they are.
            TokenProjectMissingError: they name no project, or several.
            TokenScopeMissingError: they grant no scope.
        """
        return Grant(_subject(claims), self._project(claims), self._scope(claims))

    def _project(self, claims: Mapping[str, Any]) -> str:
        value = _claim(claims, self.project_claim)
        values = _texts([value] if isinstance(value, str) else value)
        named = {self.projects[each] for each in values if each in self.projects}
        if not self.projects:
            named = values
        if len(named) != 1:
            count = "no project" if not named else "several projects"
            raise TokenProjectMissingError(
                f"the token's claim {self.project_claim!r} names {count}; it has to name one"
            )
        return named.pop()

    def _scope(self, claims: Mapping[str, Any]) -> Scope:
        value = _claim(claims, self.scope_claim)
        values = _texts(value.split() if isinstance(value, str) else value)
        granted = {self.scopes[each] for each in values if each in self.scopes}
        if not granted:
            known = ", ".join(sorted(self.scopes))
            raise TokenScopeMissingError(
                f"the token's claim {self.scope_claim!r} has none of the values that grant "
                f"something: {known}"
            )
        return max(granted, key=lambda scope: len(INCLUDED[scope]))


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.isprintable():
        raise TokenInvalidError("the token's claim 'sub' is no text")
    if not 0 < len(subject) <= _MAX_SUBJECT:
        raise TokenInvalidError(
            f"the token's claim 'sub' does not have 1 to {_MAX_SUBJECT} letters"
        )
    return SUBJECT_PREFIX + subject


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or what dots in it lead to."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> set[str]:
    each_of = value if isinstance(value, list) else ()
    return {each for each in each_of if isinstance(each, str) and each.isprintable()}
