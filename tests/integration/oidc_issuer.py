"""An OpenID Connect issuer in a process of its own: `python -m tests.integration.oidc_issuer PORT`.

Beside what clients use, it has what tests need: `/control/...` rotates and spoils what it publishes
and tells what it was asked for. A token request may carry claims and a header in JSON.
"""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx2
import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import JWKRegistry
from joserfc.registry import HeaderParameter
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.local.valkey import free_port

AUDIENCE = "https://secateur.example"
CLIENT, CLIENT_SECRET = "console", "a-secret-of-the-console"
BASIC = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
ROOT = Path(__file__).parents[2]
KINDS = {
    "RS256": ("RSA", 2048),
    "ES256": ("EC", "P-256"),
    "Ed25519": ("OKP", "Ed25519"),
}


class Issuer:
    """Keys, codes that wait to be exchanged, and how often each address was asked for."""

    def __init__(self, url):
        self.url = url
        self.keys, self.asked, self.codes, self.overlay = [], {}, {}, {}
        self.person = {"sub": "ada"}
        self.rotate()

    def rotate(self, algorithms=("RS256",)):
        made = time.time_ns()
        self.keys = [
            JWKRegistry.generate_key(*KINDS[each], {"kid": f"{each}-{made}", "alg": each})
            for each in algorithms
        ]

    def token(self, claims=(), header=()):
        head = {"typ": "at+jwt", "alg": self.keys[0].alg, "kid": self.keys[0].kid} | dict(header)
        key = next(each for each in self.keys if each.alg == head["alg"])
        if "kid" not in dict(header):
            head["kid"] = key.kid
        head = {name: value for name, value in head.items() if value is not None}
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + 300}
        told = usual | self.person | dict(claims)
        told = {name: value for name, value in told.items() if value is not None}
        registry = jws.JWSRegistry(
            {"b64": HeaderParameter("", "bool")}, [head["alg"]], strict_check_header=False
        )
        return jwt.encode(head, told, key, registry=registry, default_type=None)

    def published(self, name, told):
        self.asked[name] = self.asked.get(name, 0) + 1
        spoilt = self.overlay.get(name)
        if isinstance(spoilt, str):
            return Response(spoilt, media_type="application/json")
        if isinstance(spoilt, int):
            return Response(status_code=spoilt, headers={"Location": f"{self.url}/jwks"})
        return JSONResponse(told | (spoilt or {}))

    async def discovery(self, _):
        told = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
            "authorization_endpoint": f"{self.url}/authorize",
        }
        return self.published("discovery", told)

    async def jwks(self, _):
        return self.published("jwks", {"keys": [key.as_dict(private=False) for key in self.keys]})

    async def authorize(self, request):
        """Whoever comes is the person that the test has set, and agrees."""
        asked = dict(request.query_params)
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = urlencode({"code": code, "state": asked["state"], "iss": self.url})
        return RedirectResponse(f"{asked['redirect_uri']}?{answer}", 302)

    async def tokens(self, request):
        form = dict(parse_qsl((await request.body()).decode()))
        if form["grant_type"] == "client_credentials":
            claims, header = (json.loads(form.get(name, "{}")) for name in ("claims", "header"))
            return self.published("token", {"access_token": self.token(claims, header)})
        if request.headers.get("authorization") != f"Basic {BASIC}":
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        proven = {"code_challenge": challenge, "redirect_uri": form["redirect_uri"]}
        if asked is None or not proven.items() <= asked.items():
            return JSONResponse({"error": "invalid_grant"}, 400)
        told = {"aud": CLIENT, "nonce": asked["nonce"]} | self.overlay.get("id_token", {})
        made = {"access_token": self.token(), "id_token": self.token(told, {"typ": "JWT"})}
        return self.published("token", made | {"token_type": "Bearer", "expires_in": 300})

    async def control(self, request):
        told = await request.json()
        match request.path_params["what"]:
            case "rotate":
                self.rotate(**told)
            case "spoil":
                self.overlay = told
            case "person":
                self.person = told
        return JSONResponse(self.asked)

    def app(self):
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/jwks", self.jwks),
                Route("/token", self.tokens, methods=["POST"]),
                Route("/authorize", self.authorize),
                Route("/control/{what}", self.control, methods=["POST"]),
            ]
        )


class Process:
    """The issuer as tests see it: a process that they can ask, end and start again."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx2.Client(base_url=self.url, trust_env=False, timeout=10)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.oidc_issuer", str(self.port)], cwd=ROOT
        )
        while self.process.poll() is None:
            try:
                return self.http.get("/jwks")
            except httpx2.TransportError:
                time.sleep(0.05)
        raise RuntimeError("the issuer did not start")

    def end(self):
        self.process.kill()
        self.process.wait()

    def token(self, header=None, **claims):
        """A token as the issuer gives it, with other claims; those that are None are left out."""
        form = {"grant_type": "client_credentials", "claims": json.dumps(claims)}
        form |= {"header": json.dumps(header or {})}
        return self.http.post("/token", data=form).json()["access_token"]

    def rotate(self, *algorithms):
        self._control("rotate", {"algorithms": algorithms or ["RS256"]})

    def spoil(self, **overlay):
        """Have documents say something else, answer a status, or be no JSON."""
        self._control("spoil", overlay)

    def person(self, **claims):
        """Who signs in, and what their tokens say."""
        self._control("person", claims)

    def asked(self):
        return self._control("asked", {})

    def _control(self, what, told):
        return self.http.post(f"/control/{what}", json=told).json()

    def close(self):
        self.end()
        self.http.close()


if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(
        Issuer(f"http://127.0.0.1:{port}").app(), host="127.0.0.1", port=port, log_level="warning"
    )
