"""Tokens (RFC 7519, RFC 9068): genuine, meant for this service, in time; what they grant.

Nothing of a token is believed before its signature but which key it names and, to spare the
issuer and tell people more, whose it says it is.
"""

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwt import JWTClaimsRegistry

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.domain.tokens import (
    ClaimRules,
    Grant,
    TokenAudienceError,
    TokenClientError,
    TokenExpiredError,
    TokenInvalidError,
    TokenIssuerError,
)
from app.oidc.issuer import Issuer

MOST = 16 << 10  # characters of a token
_LIMITS = JsonLimits(bytes=MOST, values=2000, depth=8)
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# Others are not for us: sign-outs, events, proofs of possession.
_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
# Of ID tokens, which tell a client who has signed in and open nothing.
_OF_ID_TOKENS = {"at_hash", "c_hash", "nonce"}
_CHECKED = ("aud", "exp", "nbf", "iat")


class _Registry(jws.JWSRegistry):
    """Signatures alone; certificates in a header are no reason to refuse it."""

    max_header_length = max_payload_length = MOST


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies tokens.

    Attributes:
        issuer: whose tokens count.
        audience: what they must be for.
        algorithms: that may have signed them, asymmetric ones.
        clients: that they may have been given to; empty: any.
        leeway: seconds by which clocks may differ.
        rules: what claims grant.
    """

    issuer: Issuer
    audience: str
    algorithms: Collection[str]
    clients: Collection[str]
    leeway: int
    rules: ClaimRules

    async def verify(self, token: str) -> Grant:
        """What the token grants.

        Raises:
            TokenError: nothing; its class says why.
            IssuerUnavailableError: the issuer's keys are not known and cannot be fetched.
        """
        claims = await self.claims(token, self.audience)
        if "cnf" in claims:
            raise TokenInvalidError("the token is bound to a key of its client, and not a bearer's")
        if _is_id_token(claims):
            raise TokenInvalidError("this is an ID token; send the access token")
        client = next(
            (claims[name] for name in ("azp", "client_id", "appid") if name in claims), None
        )
        if self.clients and client not in self.clients:
            raise TokenClientError("the token was given to a client that may not use this service")
        return self.rules.grant(claims)

    async def claims(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token of the issuer's for this audience.

        Raises:
            TokenError: it is none, or not any more.
            IssuerUnavailableError: as for `verify`.
        """
        header, claims = _parts(token)
        if claims.get("iss") != self.issuer.url:
            raise TokenIssuerError(f"the token is not of the issuer {self.issuer.url}")
        algorithm, kid = self._head(header)
        key = await self.issuer.key(kid, algorithm)
        registry = _Registry(algorithms=[algorithm], strict_check_header=False)
        try:
            jws.deserialize_compact(token, key, registry=registry)
        except (JoseError, ValueError) as error:
            raise TokenInvalidError("the token's signature is not the issuer's") from error
        self._check(claims, audience)
        return claims

    def _head(self, header: Mapping[str, Any]) -> tuple[str, str | None]:
        """Algorithm and key id of a header that asks for nothing else."""
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise TokenInvalidError(
                f"the token is not signed with one of {', '.join(sorted(self.algorithms))}"
            )
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenInvalidError("the token's header says that it is no access token ('typ')")
        if "crit" in header or not isinstance(kid, str | None):
            raise TokenInvalidError("the token's header has 'crit', or a 'kid' that is no text")
        return algorithm, kid

    def _check(self, claims: Mapping[str, Any], audience: str) -> None:
        wanted = JWTClaimsRegistry(
            leeway=self.leeway,
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )
        try:
            wanted.validate({name: claims[name] for name in _CHECKED if name in claims})
        except ExpiredTokenError as error:
            raise TokenExpiredError(
                "the token has expired; ask the issuer for a new one"
            ) from error
        except ClaimError as error:
            kind = TokenAudienceError if error.claim == "aud" else TokenInvalidError
            raise kind(
                f"the token's claim {error.claim!r} is missing or not as it must be"
            ) from error


def _is_id_token(claims: Mapping[str, Any]) -> bool:
    """Is it one? Keycloak says so itself, and for long gave access tokens a nonce, too."""
    if "typ" in claims:
        return bool(claims["typ"] == "ID")
    return bool(_OF_ID_TOKENS & claims.keys())


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, none of them verified."""
    if len(token) > MOST:
        raise TokenInvalidError(f"a token has at most {MOST} characters")
    match = _FORM.fullmatch(token)
    if match is None:
        raise TokenInvalidError("the token is no signed JWT: three parts in base64url")
    try:
        header, claims = (parse_object(_decoded(part), _LIMITS) for part in match.group(1, 2))
    except (JsonError, ValueError) as error:
        raise TokenInvalidError("the token's header or its claims are no JSON object") from error
    return header, claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
