"""Signing in at the issuer: the authorization code flow of OpenID Connect, with PKCE (RFC 7636).

The browser is sent to the issuer and comes back with a code, which this service exchanges for
tokens. The ID token proves who came back, the access token says what they may do here: it is
verified as one that is sent to the API.
"""

import base64
import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Self
from urllib.parse import urlencode

from app.domain.tokens import Grant, SignInError
from app.messages import printable
from app.oidc.issuer import Issuer
from app.oidc.verifier import Verifier

logger = logging.getLogger("secateur.oidc")

_TEXT = re.compile(r"(?P<state>[\w-]{43})\.(?P<nonce>[\w-]{43})\.(?P<verifier>[\w-]{43})", re.ASCII)


def _random() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that has begun; the browser keeps it, so that only that browser can end it.

    Attributes:
        state: comes back with the browser.
        nonce: comes back in the ID token.
        verifier: shows that who exchanges the code is who asked for it.
    """

    state: str = field(default_factory=_random)
    nonce: str = field(default_factory=_random)
    verifier: str = field(default_factory=_random)

    def __str__(self) -> str:
        """What the browser keeps."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @classmethod
    def of(cls, text: str) -> Self | None:
        """The attempt that a browser has kept, if that is what it has."""
        match = _TEXT.fullmatch(text)
        return cls(**match.groupdict()) if match else None

    @property
    def challenge(self) -> str:
        """What the issuer is told of the verifier."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class SignIn:
    """Sends people to the issuer, and learns from it who has come back.

    Attributes:
        verifier: of the tokens.
        client_id: what the console is at the issuer.
        client_secret: empty where the issuer has none for it.
        scope: what is asked for.
        parameters: further ones that the issuer wants to be asked with.
        seconds: how long what comes of it may last.
    """

    verifier: Verifier
    client_id: str
    client_secret: str
    scope: str
    parameters: Mapping[str, str]
    seconds: int

    @property
    def issuer(self) -> Issuer:
        """Where people sign in."""
        return self.verifier.issuer

    async def address(self, attempt: Attempt, back: str) -> str:
        """Where to send the browser, which comes `back` then.

        Raises:
            IssuerUnavailableError: the issuer does not tell.
        """
        told = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": back,
            "scope": self.scope,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        address = await self.issuer.endpoint("authorization_endpoint")
        separator = "&" if "?" in address else "?"
        return f"{address}{separator}{urlencode({**self.parameters, **told})}"

    async def finish(self, attempt: Attempt | None, answer: Mapping[str, str], back: str) -> Grant:
        """What whoever has come back may do.

        Args:
            attempt: that the browser has kept.
            answer: parameters with which the issuer has sent it back.
            back: as for `address`.

        Raises:
            SignInError: this browser has begun no such sign-in, or the issuer refused it.
            TokenError: the tokens prove or allow nothing.
            IssuerUnavailableError: the issuer does not answer.
        """
        if attempt is None or not compare_digest(
            answer.get("state", "").encode(), attempt.state.encode()
        ):
            raise SignInError("this browser has begun no such sign-in, or too long ago; try again")
        if answer.get("iss", self.issuer.url) != self.issuer.url:  # RFC 9207
            raise SignInError("the answer is not from the issuer that was asked; try again")
        if "code" not in answer:
            raise SignInError("the issuer did not let you sign in, or you did not want to")
        tokens = await self._exchanged(attempt, answer["code"], back)
        identity = await self.verifier.claims(tokens["id_token"], self.client_id)
        nonce, client = identity.get("nonce"), identity.get("azp", self.client_id)
        if not isinstance(nonce, str) or not compare_digest(nonce.encode(), attempt.nonce.encode()):
            raise SignInError("the issuer's ID token is of another sign-in; try again")
        grant = await self.verifier.verify(tokens["access_token"])
        if client != self.client_id or not grant.is_of(identity):
            raise SignInError("the issuer's tokens are of another client or of somebody else")
        return grant

    async def _exchanged(self, attempt: Attempt, code: str, back: str) -> dict[str, str]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": attempt.verifier,
            "client_id": self.client_id,
        }
        client = (self.client_id, self.client_secret) if self.client_secret else None
        told = await self.issuer.exchange(form, client)
        tokens = {name: told.get(name) for name in ("id_token", "access_token")}
        texts = {name: each for name, each in tokens.items() if isinstance(each, str)}
        if len(texts) < len(tokens):
            logger.warning(
                "the issuer exchanges no code: %s", printable(str(told.get("error")), 200)
            )
            raise SignInError("the issuer did not exchange the code for tokens; try again")
        return texts
