"""A repository of an OCI registry, as far as a push needs it.

By the HTTP API of the distribution specification
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md). Its client for Python,
oras, reads a whole blob into memory to send it, and goes on with a token that has run out.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import httpx2
from pydantic import BaseModel, Field, ValidationError

from app.domain.publications import PublishingError
from app.messages import in_words

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_OF_DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPTED = ", ".join((MANIFEST, INDEX, *_OF_DOCKER))
# What a token is good for where the registry does not say: the token specification's minimum.
_TOKEN_SECONDS = 60
# A registry may hash and move a shard of gigabytes before it answers.
TIMEOUT = httpx2.Timeout(120, read=600)

Json = dict[str, Any]
Document = TypeVar("Document", bound=BaseModel)
Content = Callable[[], bytes | Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that a manifest names.

    Attributes:
        digest: `sha256:` and the hash in hexadecimal; the registry compares it with what arrives.
        content: begins to read it, each time anew.
        source: a repository of the same registry that has it already; empty: none.
    """

    media_type: str
    digest: str
    size: int
    content: Content
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def descriptor(self) -> Json:
        """How a manifest names it."""
        named: Json = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return named | ({"annotations": dict(self.annotations)} if self.annotations else {})


def blob_of(media_type: str, content: bytes) -> Blob:
    """A small blob."""
    return Blob(media_type, digest_of(content), len(content), lambda: content)


def digest_of(content: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Descriptor(BaseModel):
    """How a manifest that we read names a blob, or another manifest."""

    media_type: str = Field(validation_alias="mediaType")
    digest: Digest
    size: int = Field(ge=0)
    platform: Json | None = None


class Manifest(BaseModel):
    """A manifest that we read: of an image, or of one for each platform.

    Attributes:
        manifests: None where it is of one image.
    """

    manifests: tuple[Descriptor, ...] | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()


_HeaderText = Annotated[str, Field(pattern=r"^[\x21-\x7e]*$")]


class _Token(BaseModel):
    """The answer of a token server, with the token under one of two names.

    By https://distribution.github.io/distribution/spec/auth/token/.
    """

    token: _HeaderText = ""
    access_token: _HeaderText = ""
    expires_in: float | None = Field(default=None, ge=0, allow_inf_nan=False)


def read_document(kind: type[Document], content: bytes, what: str) -> Document:
    """Read JSON that a registry has sent.

    Raises:
        PublishingError: it is not what it should be.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        issue = error.errors(include_url=False)[0]
        reason = " ".join([".".join(map(str, issue["loc"])), in_words(issue)]).strip()
        raise PublishingError(f"the registry's {what} cannot be read: {reason}") from None


class Repository:
    """One repository. Its methods raise `PublishingError` where the registry refuses."""

    def __init__(self, http: httpx2.Client, name: str, secret: str, also_read: str = "") -> None:
        """Sign in later, when the registry asks for it.

        Args:
            http: with the registry's address.
            name: of the repository.
            secret: `user:password`; empty: none.
            also_read: another repository, whose blobs are taken from.
        """
        self._http, self._name = http, name
        user, _, password = secret.partition(":")
        self._login = httpx2.BasicAuth(user, password) if secret else None
        self._scopes = [f"repository:{name}:pull,push"]
        self._scopes += [f"repository:{also_read}:pull"] if also_read else []
        self._auth: httpx2.Auth | None = None
        self._renew_at = float("inf")

    def digest_at(self, tag: str) -> str | None:
        """The digest of the manifest that has the tag; None: there is none."""
        path = f"/v2/{self._name}/manifests/{tag}"
        answer = self._send("HEAD", path, headers={"Accept": _ACCEPTED})
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        _accept(answer)
        return answer.headers.get("Docker-Content-Digest")

    def manifest(self, repository: str, reference: str) -> Manifest:
        """Read a manifest of some repository, by tag or by digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        content = _accept(self._send("GET", path, headers={"Accept": _ACCEPTED})).content
        if reference.startswith("sha256:"):
            check_digest(content, reference)
        return read_document(Manifest, content, "manifest")

    def read(self, repository: str, digest: str) -> Iterator[bytes]:
        """Read a blob of some repository whose manifest was read."""
        path = f"/v2/{repository}/blobs/{digest}"
        with self._http.stream("GET", path, auth=self._auth, follow_redirects=True) as answer:
            yield from _accept(answer).iter_bytes()

    def put_blob(self, blob: Blob) -> None:
        """Upload a blob, if the repository does not have it."""
        path = f"/v2/{self._name}/blobs"
        if not _missing(self._send("HEAD", f"{path}/{blob.digest}", follow_redirects=True)):
            return
        mount = {"mount": blob.digest, "from": blob.source} if blob.source else {}
        begun = _accept(self._send("POST", f"{path}/uploads/", params=mount))
        if begun.status_code == httpx2.codes.CREATED:  # taken over from `source`
            return
        address = _address(begun, begun.headers.get("Location", ""))
        if _origin(address) != _origin(begun.url):  # our credentials are for the registry alone
            raise PublishingError(f"the registry wants uploads to go to {_origin(address)}")
        headers = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
        address = address.copy_merge_params({"digest": blob.digest})
        _accept(self._send("PUT", str(address), content=blob.content, headers=headers))

    def put_manifest(self, tag: str, manifest: bytes) -> None:
        """Give a manifest a tag; whatever it names is there already."""
        path = f"/v2/{self._name}/manifests/{tag}"
        headers = {"Content-Type": MANIFEST}
        answer = _accept(self._send("PUT", path, content=lambda: manifest, headers=headers))
        stored = answer.headers.get("Docker-Content-Digest", digest_of(manifest))
        if stored != digest_of(manifest):
            raise PublishingError(f"the registry stored the manifest as {stored}")

    def _send(
        self, method: str, url: str, content: Content | None = None, **options: Any
    ) -> httpx2.Response:
        if time.monotonic() > self._renew_at:
            self._auth, self._renew_at = None, float("inf")
        for _ in range(2):
            body = content() if content else None
            answer = self._http.request(method, url, content=body, auth=self._auth, **options)
            if answer.status_code != httpx2.codes.UNAUTHORIZED or not self._sign_in(answer):
                break
        return answer

    def _sign_in(self, asked: httpx2.Response) -> bool:
        """Do what the answer asks for; False where it asks for nothing that we have."""
        challenge = asked.headers.get("WWW-Authenticate", "")
        if challenge.lower().startswith("basic"):
            self._auth = self._login
            return self._login is not None
        asks = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in asks:
            return False
        realm = _address(asked, asks["realm"])
        if asked.url.scheme == "https" and realm.scheme != "https":
            raise PublishingError("the registry wants the password to be sent in the clear")
        wanted = {"service": asks.get("service", ""), "scope": self._scopes}
        answer = _accept(self._http.get(realm, params=wanted, auth=self._login))
        token = read_document(_Token, answer.content, "token")
        self._auth = _Bearer(token.token or token.access_token)
        # A shard of gigabytes takes its time: none is begun with a token that is about to end.
        seconds = _TOKEN_SECONDS if token.expires_in is None else token.expires_in
        self._renew_at = time.monotonic() + seconds / 2
        return True


class _Bearer(httpx2.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override]
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _missing(answer: httpx2.Response) -> bool:
    if answer.status_code == httpx2.codes.NOT_FOUND:
        return True
    _accept(answer)
    return False


def check_digest(content: bytes, digest: str) -> None:
    """Refuse what a registry gives under the digest of something else.

    Raises:
        PublishingError: it does.
    """
    if digest_of(content) != digest:
        raise PublishingError(f"the registry gives other content under {digest}")


def _address(answer: httpx2.Response, named: str) -> httpx2.URL:
    """Where an answer leads."""
    try:
        address = answer.url.join(named)
    except httpx2.InvalidURL:
        address = httpx2.URL()
    if not named or address.scheme not in {"http", "https"} or not address.host:
        raise PublishingError(f"the registry names no address to go on at: {named!r}")
    return address


def _accept(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_success:
        return answer
    try:
        [first, *_] = answer.json()["errors"]
        reason = f"{first['code']}: {first['message']}"
    except (ValueError, KeyError, TypeError, RecursionError, httpx2.ResponseNotRead):
        reason = answer.reason_phrase
    raise PublishingError(f"the registry answered {answer.status_code}, {reason}")
