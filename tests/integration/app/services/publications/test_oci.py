"""A real registry; what was pushed is pulled by others' clients and loaded by transformers."""

import hashlib
import io
import json
import logging
import subprocess
import sys
import tarfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import uvicorn
from modelpack_client import ModelPackClient
from transformers import AutoModelForImageTextToText

from app.domain.jobs import Job
from app.domain.publications import OciRegistry
from app.local.process import running
from app.local.valkey import free_port
from app.publishers import oci
from app.publishers.oci_registry import INDEX, MANIFEST, Repository, blob_of, digest_of
from app.publishers.publication_files import Parcel
from tests.integration.app.problem import assert_problem
from tests.integration.app.services.publications.conftest import FILES, JOB
from tests.integration.in_thread import in_thread
from tests.registry import PASSWORD, PROGRAM, USER, Registry, TokenServer, password_file

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no docker-registry: `make .venv-registry/installed` was not run"
)
SECRET = f"{USER}:{PASSWORD}"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A server that gives tokens, and its address."""
    issuer, port = TokenServer(tmp_path_factory.mktemp("tokens")), free_port()
    server = uvicorn.Server(uvicorn.Config(issuer.app, port=port, log_level="warning"))
    issuer.url = f"http://127.0.0.1:{port}"
    with in_thread(server):
        yield issuer


@pytest.fixture(scope="module", params=["open"])
def registry(tmp_path_factory, tokens, request):
    directory = tmp_path_factory.mktemp("registry")
    auth = {"password": password_file(directory), "token": tokens.auth(tokens.url)}
    with running(Registry(directory, auth.get(request.param))) as server:
        yield server


every_auth = pytest.mark.parametrize("registry", ["open", "password", "token"], indirect=True)


@pytest.fixture
def destinations(registry, monkeypatch):
    monkeypatch.setenv("PUSH_OCI", SECRET)
    kind = {"kind": "oci", "endpoint": f"{registry.url}/models", "secret": "PUSH_OCI"}
    image = kind | {"format": "image"}
    return {"packs": kind, "images": image, "cars": image | {"base": "library/shell:1"}}


@pytest.fixture
def published(request):
    if getattr(request, "param", "plain") == "plain":
        return FILES
    folder = Path("benchmarks/models/scenes-llava")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return files | {"manifest.json": b'{"format": 1}', "plots/sparsity.svg": b"<svg/>"}


def told(client, job_id):
    (found,) = client.get(f"/v1/jobs/{job_id}/publications").json()["publications"]
    return found


def again(client, job_id):
    path = f"/v1/jobs/{job_id}/publications/{told(client, job_id)['id']}/retry"
    assert client.post(path).status_code == 202


def manifest_of(registry, name, reference):
    address = f"{registry.url}/v2/models/{name}/manifests/{reference}"
    answer = httpx2.get(address, headers={"Accept": MANIFEST}, trust_env=False)
    return answer.raise_for_status().json()


def blob(registry, name, descriptor):
    address = f"{registry.url}/v2/models/{name}/blobs/{descriptor['digest']}"
    return httpx2.get(address, trust_env=False).raise_for_status().content


@pytest.mark.parametrize("published", ["llava"], indirect=True)
def test_a_pack_is_pulled_by_another_client_and_loads(
    client, registry, finished, attempt, published, tmp_path
):
    job_id = finished(("packs", "acme/captioner"))
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], found["last_error"]) == ("published", None)
    digest = found["url"].removeprefix(f"oci://{registry.host}/models/acme/captioner@")
    reference = f"{registry.host}/models/acme/captioner"
    puller = ModelPackClient(registry.host, insecure=True)
    pulled = puller.pull(f"{reference}:{job_id}", tmp_path)
    assert puller.pull(f"{reference}@{digest}", tmp_path).manifest == pulled.manifest
    got = {path: (tmp_path / path).read_bytes() for path in published}
    assert got == published
    assert pulled.config["descriptor"]["family"] == "llava"
    kinds = {
        each["annotations"]["org.cncf.model.filepath"]: each["mediaType"].split(".v1")[0]
        for each in pulled.manifest["layers"]
    }
    assert kinds["model.safetensors"] == "application/vnd.cncf.model.weight"
    assert kinds["tokenizer.json"] == "application/vnd.cncf.model.weight.config"
    assert kinds["README.md"] == kinds["plots/sparsity.svg"] == "application/vnd.cncf.model.doc"
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(model).__name__ == "LlavaForConditionalGeneration"


@every_auth
def test_what_is_there_is_not_pushed_again(client, registry, tokens, finished, attempt):
    tokens.scopes.clear()
    tokens.lifetime = 0  # every request gets another one
    job_id = finished(("packs", "captioner"))
    assert attempt()
    first = told(client, job_id)
    assert (first["state"], first["last_error"]) == ("published", None)
    pushed = registry.stored("PUT /v2/models/captioner/")
    assert pushed == len(FILES) + 2  # its configuration and the manifest
    if tokens.scopes:
        assert len(tokens.scopes) > pushed
        assert all(each == ["repository:models/captioner:pull,push"] for each in tokens.scopes)
    again(client, job_id)
    assert attempt()
    assert told(client, job_id)["url"] == first["url"]
    assert registry.stored("PUT /v2/models/captioner/") == pushed


def test_an_image_has_its_files_in_models(client, registry, finished, attempt):
    job_id = finished(("images", "captioner"))
    assert attempt()
    manifest = manifest_of(registry, "captioner", job_id)
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config = json.loads(blob(registry, "captioner", manifest["config"]))
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    files = {}
    for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        content = blob(registry, "captioner", layer)
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == diff
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                assert member.mode == (0o755 if member.isdir() else 0o644)
                if member.isfile():
                    files[member.name] = archive.extractfile(member).read()
    assert files == {f"models/{path}": content for path, content in FILES.items()}
    assert len(manifest["layers"]) == 2  # the weights, and the rest


KSERVE = """
import sys
from kserve_storage import Storage
print(Storage.download(sys.argv[1], sys.argv[2]))
"""


def test_kserve_fetches_the_image(client, registry, finished, attempt, tmp_path):
    """By KServe's own storage initializer, the one of `oci+fetch://`."""
    job_id = finished(("images", "captioner"))
    assert attempt()
    argv = [sys.executable, "-W", "ignore", "-c", KSERVE]
    target = tmp_path / "mnt"
    ran = subprocess.run(
        [*argv, f"oci://{registry.host}/models/captioner:{job_id}", str(target)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"KSERVE_OCI_INSECURE_REGISTRY": "true", "HOME": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    got = {path: (target / path).read_bytes() for path in FILES}
    assert got == FILES


def shell(registry):
    """A small base image in the registry, as one of several platforms; its layer."""
    layer = blob_of("application/vnd.oci.image.layer.v1.tar", bytes(1024))
    config = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["sh"]}}
    config |= {"rootfs": {"type": "layers", "diff_ids": [layer.digest]}}
    named = blob_of("application/vnd.oci.image.config.v1+json", json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    manifest |= {"config": named.descriptor, "layers": [layer.descriptor]}
    content = json.dumps(manifest).encode()
    with httpx2.Client(base_url=registry.url, trust_env=False) as http:
        repository = Repository(http, "library/shell", SECRET)
        for each in (layer, named):
            repository.put_blob(each)
        repository.put_manifest("amd64", content)
        ours = {"mediaType": manifest["mediaType"], "digest": digest_of(content)}
        ours |= {"size": len(content), "platform": {"os": "linux", "architecture": "amd64"}}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [ours]}
        path, content = "/v2/library/shell/manifests/1", json.dumps(index).encode()
        named = repository._send(
            "PUT", path, content=lambda: content, headers={"Content-Type": INDEX}
        )
        named.raise_for_status()
    return layer


@pytest.mark.parametrize("registry", ["open"], indirect=True)
def test_an_image_may_begin_with_another(client, registry, finished, attempt):
    lowest = shell(registry)
    job_id = finished(("cars", "captioner"))
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], found["last_error"]) == ("published", None)
    manifest = manifest_of(registry, "captioner", job_id)
    assert manifest["layers"][0] == lowest.descriptor
    config = json.loads(blob(registry, "captioner", manifest["config"]))
    assert config["config"] == {"Cmd": ["sh"]}
    assert config["rootfs"]["diff_ids"][0] == lowest.digest
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 3
    # It was taken over inside the registry.
    mount = f"?mount={lowest.digest.replace(':', '%3A')}"
    assert registry.stored(f"POST /v2/models/captioner/blobs/uploads/{mount}") == 1


@pytest.mark.parametrize("registry", ["token"], indirect=True)
def test_a_token_is_asked_for_both_repositories(client, registry, tokens, finished, attempt):
    lowest = shell(registry)
    tokens.scopes.clear()
    job_id = finished(("cars", "captioner"))
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], found["last_error"]) == ("published", None)
    wanted = ["repository:models/captioner:pull,push", "repository:library/shell:pull"]
    assert tokens.scopes
    assert all(each == wanted for each in tokens.scopes)
    mount = f"?mount={lowest.digest.replace(':', '%3A')}"
    assert registry.stored(f"POST /v2/models/captioner/blobs/uploads/{mount}") == 1


@pytest.mark.parametrize("kind", ["modelpack", "image"])
def test_weights_pass_through_little_memory(registry, tmp_path, kind):
    files = {"model.safetensors": bytes(range(256)) * (1 << 18), "config.json": b"{}"}
    for path, content in files.items():
        (tmp_path / path).write_bytes(content)
    parcel = Parcel(
        Job(
            id="job_large",
            created_at=datetime.now(UTC),
            max_attempts=1,
            model="tiny",
            method="magnitude",
            stored_request={},
            stored_spec={},
        ),
        {path: tmp_path / path for path in files},
        {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    )
    size = len(files.pop("model.safetensors"))
    destination = OciRegistry(kind="oci", endpoint=registry.url, format=kind)
    tracemalloc.start()
    try:
        oci.push(destination, "", f"large/{kind}", parcel)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 64 << 20
    assert peak < 8 << 20


@pytest.mark.parametrize("registry", ["password", "token"], indirect=True)
def test_a_wrong_password_is_told_nowhere(client, finished, attempt, monkeypatch, caplog):
    job_id = finished(("packs", "captioner"))
    caplog.set_level(logging.DEBUG, "secateur")
    monkeypatch.setenv("PUSH_OCI", f"{USER}:wrong-secret")
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], "401" in found["last_error"]) == ("pending", True)
    everything = "".join(
        client.get(f"/v1/jobs/{job_id}{path}").text for path in ("", "/events", "/publications")
    )
    assert "wrong-secret" not in everything + caplog.text


def test_a_file_that_has_changed_since_is_refused(client, registry, finished, attempt, settings):
    job_id = finished(("packs", "changed"))
    [file] = Path(settings.storage.dir).rglob(f"*{job_id}*/**/model.safetensors")
    file.write_bytes(bytes(len(FILES["model.safetensors"])))
    assert attempt()
    found = told(client, job_id)
    assert (found["state"], found["url"]) == ("pending", None)
    assert "digest" in found["last_error"]
    file.write_bytes(FILES["model.safetensors"])
    again(client, job_id)
    assert attempt()
    assert told(client, job_id)["state"] == "published"
    # Files that had arrived before were not sent again.
    assert registry.stored("PUT /v2/models/changed/") == len(FILES) + 2


def test_a_repository_is_named_in_lower_case(client):
    wanted = [{"destination": "packs", "target": "Acme/captioner"}]
    answer = client.post("/v1/jobs", json=JOB | {"publish": wanted})
    assert_problem(answer, 422, "target_invalid")
    assert "lower case" in answer.json()["detail"]
