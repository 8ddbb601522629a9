"""Whatever a registry or its token server answers, a push arrives or says what is wrong."""

import json
from datetime import UTC, datetime

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.jobs import Job
from app.domain.publications import OciRegistry, PublishingError
from app.publishers import oci
from app.publishers.oci_registry import INDEX, MANIFEST, blob_of, digest_of
from app.publishers.publication_files import Parcel

CHALLENGE = 'Bearer realm="http://tokens.example/token",service="registry"'
LAYER = blob_of("application/vnd.oci.image.layer.v1.tar", bytes(1024))
CONFIG = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [LAYER.digest]}}
TOKEN = {"token": "abc", "expires_in": 300}


class Registry:
    """A right one, but for the answers in `odd`; it knows which digests it gives."""

    def __init__(self, **odd):
        self.odd, self.kept = odd, {}
        config = self.body("config", CONFIG)
        image = {"config": {"mediaType": "a", "digest": digest_of(config), "size": len(config)}}
        image |= {"mediaType": MANIFEST, "layers": [LAYER.descriptor]}
        self.image = self.body("image", image)
        ours = {"mediaType": MANIFEST, "digest": digest_of(self.image), "size": len(self.image)}
        ours |= {"platform": {"os": "linux", "architecture": "amd64"}}
        index = self.body("index", {"mediaType": INDEX, "manifests": [ours]})
        self.manifests = {"1": index, digest_of(self.image): self.image}
        self.blobs = {digest_of(config): config, LAYER.digest: LAYER.content()}

    def body(self, name, document):
        return self.odd.get(name, json.dumps(document).encode())

    def __call__(self, request):
        path = request.url.path
        if request.url.host == "tokens.example":
            return httpx2.Response(200, content=self.body("token", TOKEN))
        if "Authorization" not in request.headers:
            asked = {"WWW-Authenticate": self.odd.get("challenge", CHALLENGE).encode("latin-1")}
            return httpx2.Response(401, headers=asked)
        return getattr(self, request.method.lower())(path, request)

    def head(self, _path, _request):
        return httpx2.Response(404)

    def get(self, path, _request):
        found = self.manifests if "/manifests/" in path else self.blobs
        content = found.get(path.split("/")[-1])
        return httpx2.Response(404 if content is None else 200, content=content)

    def post(self, _path, _request):
        if "error" in self.odd:
            return httpx2.Response(400, content=self.odd["error"])
        return httpx2.Response(
            202, headers={"Location": self.odd.get("location", "/upload").encode("latin-1")}
        )

    def put(self, path, request):
        self.kept[path] = request.read()
        return httpx2.Response(201)


@pytest.fixture
def push(tmp_path, monkeypatch):
    """Push an image upon a base to a registry that answers so."""
    (tmp_path / "config.json").write_bytes(b"{}")
    job = Job(
        id="job_1",
        created_at=datetime.now(UTC),
        max_attempts=1,
        model="tiny",
        method="magnitude",
        stored_request={},
        stored_spec={},
    )
    parcel = Parcel(job, {"config.json": tmp_path / "config.json"}, {"config.json": "0" * 64})
    destination = OciRegistry(
        kind="oci", endpoint="http://registry.example", format="image", base="library/shell:1"
    )
    made = httpx2.Client

    def pushed(**odd):
        registry = Registry(**odd)

        def client(**options):
            return made(transport=httpx2.MockTransport(registry), **options)

        monkeypatch.setattr(oci.httpx2, "Client", client)
        oci.push(destination, "user:password", "captioner", parcel)
        return registry

    return pushed


def leaf_paths(document, path=()):
    yield path
    names = range(len(document)) if isinstance(document, list) else document
    for name in names if isinstance(document, dict | list) else ():
        yield from leaf_paths(document[name], (*path, name))


def test_a_right_registry_gets_everything(push):
    assert "/v2/captioner/manifests/job_1" in push().kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


@st.composite
def spoiled(draw, document):
    """The document with one of its parts, or itself, another; or no JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=40) | st.just(b"[" * 100_000))
    copy = {"all": json.loads(json.dumps(document))}
    [*outer, last] = draw(st.sampled_from(list(leaf_paths(copy))[1:]))
    place = copy
    for name in outer:
        place = place[name]
    if isinstance(place, dict) and draw(st.booleans()):
        place.pop(last)
    else:
        place[last] = draw(JSON)
    return json.dumps(copy.get("all")).encode()


LATIN = st.characters(max_codepoint=255, exclude_categories=["Cc"])  # what a header can hold
IMAGE = json.loads(Registry().image)
INDEXED = json.loads(Registry().manifests["1"])
ODD = st.one_of(
    *(
        st.fixed_dictionaries({name: spoiled(document)})
        for name, document in {
            "token": TOKEN,
            "index": INDEXED,
            "image": IMAGE,
            "config": CONFIG,
            "error": {"errors": [{"code": "DENIED", "message": "no"}]},
        }.items()
    ),
    st.fixed_dictionaries({"location": st.text(LATIN, max_size=30)}),
    st.fixed_dictionaries(
        {"challenge": st.text(LATIN, max_size=20).map('Bearer realm="{}"'.format)}
    ),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ODD)
def test_odd_answers_are_told_clearly(push, odd):
    told = None
    try:
        push(**odd)
    except PublishingError as error:
        told = str(error)
    assert told is None or told.startswith(("the registry", "library/shell", "the configuration"))


@pytest.mark.parametrize("seconds", [None, 90.5, "300"])
def test_a_token_may_say_nothing_of_its_end(push, seconds):
    assert push(token=json.dumps(TOKEN | {"expires_in": seconds}).encode()).kept


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"token": b'{"token": "abc", "expires_in": "soon"}'}, "token cannot be read: expires_in"),
        ({"token": b'{"token": "a\\nb"}'}, "token cannot be read"),
        ({"token": b"<html>"}, "token cannot be read"),
        ({"location": ""}, "no address to go on at"),
        ({"location": "http://[::"}, "no address to go on at"),
        ({"challenge": 'Bearer realm="http://[::"'}, "no address to go on at"),
        ({"challenge": 'Bearer realm="file:///etc/passwd"'}, "no address to go on at"),
        ({"config": b'{"rootfs": {"diff_ids": []}}'}, "has other layers"),
        ({"index": b'{"manifests": []}'}, "no image for linux/amd64"),
        ({"index": b"{}"}, "no image at 1"),
    ],
)
def test_what_is_wrong_is_said(push, odd, reason):
    with pytest.raises(PublishingError, match=reason):
        push(**odd)


@pytest.mark.parametrize("part", ["manifests", "blobs"])
def test_content_under_another_digest_is_refused(push, monkeypatch, part):
    plain = Registry.__init__

    def changed(self, **odd):
        plain(self, **odd)
        kept = getattr(self, part)
        kept.update({key: value + b" " for key, value in kept.items() if key != "1"})

    monkeypatch.setattr(Registry, "__init__", changed)
    with pytest.raises(PublishingError, match="other content under sha256"):
        push()
