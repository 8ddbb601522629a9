"""The distribution project's registry, a real one, as Debian packages it (`docker-registry`)."""

import base64
import json
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.local.process import Process, Program
from app.local.valkey import free_port

USER, PASSWORD = "pusher", "open-sesame"
BCRYPT = "$2b$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO"
LOCAL = Path(__file__).parents[1] / ".venv-registry/usr/bin/docker-registry"
PROGRAM = shutil.which("docker-registry") or (str(LOCAL) if LOCAL.exists() else None)


class Registry(Process):
    """A registry on a free port of 127.0.0.1; `auth` is that part of its configuration."""

    def __init__(self, directory, auth=None):
        self.host = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.host}"
        self.requests = directory / "logs" / "registry.log"
        config = {
            "version": 0.1,
            "log": {"accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "files")}},
            "http": {"addr": self.host},
        }
        file = directory / "registry.json"  # JSON is YAML
        file.write_text(json.dumps(config | ({"auth": auth} if auth else {})))
        program = Program(name="registry", argv=[PROGRAM, "serve", str(file)])
        super().__init__(program, directory)

    def ready(self):
        try:
            return httpx2.get(f"{self.url}/v2/", trust_env=False).status_code in {200, 401}
        except httpx2.TransportError:
            return False

    def stored(self, request):
        """How many requests that begin like this made something, as its access log has it."""
        log = self.requests.read_text(errors="replace")
        return len(re.findall(f'"{re.escape(request)}[^"]*" 201 ', log))


def password_file(directory):
    """What a registry needs to ask for a password."""
    file = directory / "htpasswd"
    file.write_text(f"{USER}:{BCRYPT}\n")
    return {"htpasswd": {"realm": "tests", "path": str(file)}}


class TokenServer:
    """Gives out tokens for scopes, as the distribution project's specification has it.

    Attributes:
        scopes: what was asked for, in order.
        lifetime: seconds that its tokens are said to last.
    """

    def __init__(self, directory):
        self.scopes, self.lifetime = [], 60
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), 1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = directory / "issuer.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.app = Starlette(routes=[Route("/token", self._token)])

    def auth(self, url):
        """What a registry needs to ask for these tokens."""
        options = {"realm": f"{url}/token", "service": "registry", "issuer": "tests"}
        return {"token": options | {"rootcertbundle": str(self.bundle)}}

    async def _token(self, request):
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{USER}:{PASSWORD}":
            return Response(status_code=401)
        scopes = request.query_params.getlist("scope")
        self.scopes.append(scopes)
        parts = [scope.split(":") for scope in scopes]
        claims = {
            "iss": "tests",
            "sub": USER,
            "aud": request.query_params["service"],
            "exp": int(time.time()) + 300,
            "nbf": int(time.time()) - 60,
            "jti": "1",
            "access": [
                {"type": kind, "name": name, "actions": actions.split(",")}
                for kind, name, actions in parts
            ],
        }
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"alg": "RS256", "typ": "JWT", "x5c": [base64.b64encode(der).decode()]}
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        token = jwt.encode(header, claims, RSAKey.import_key(pem))
        return JSONResponse({"token": token, "expires_in": self.lifetime})
