"""Pushes a job's files to an OCI registry: as a ModelPack, or as an image with files in `/models`.

ModelPack is the format of the CNCF (https://github.com/modelpack/model-spec): every file is a blob
as it is. An image is what Kubernetes mounts as a volume and KServe loads by `oci://`
(https://kserve.github.io/website/docs/model-serving/storage/providers/oci). Both come out the same
each time, so that a job is pushed once.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from pydantic import BaseModel

from app.domain.publications import OciRegistry, PublishingError
from app.publishers.oci_registry import (
    MANIFEST,
    TIMEOUT,
    Blob,
    Digest,
    Json,
    Repository,
    blob_of,
    check_digest,
    digest_of,
    read_document,
)
from app.publishers.publication_files import Parcel, chunks

MODELS = "models"  # where KServe looks for files
_MODEL = "application/vnd.cncf.model"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_PLATFORM = {"os": "linux", "architecture": "amd64"}
_WEIGHTS = (".safetensors",)
_DOCUMENTS = (".md", ".html", ".svg", ".png", ".sig", ".cdx.json")
_REPORTS = {"manifest.json", "pruning_report.json"}


def push(destination: OciRegistry, secret: str, target: str, parcel: Parcel) -> str:
    """Upload what the repository does not have yet; returns the address with the digest.

    The tag is the job's id, and comes last.

    Raises:
        PublishingError: the registry refuses.
        httpx2.HTTPError: it is away.
    """
    endpoint = httpx2.URL(destination.endpoint)
    name = f"{endpoint.path}/{target}".strip("/")
    parts = re.split("[:@]", destination.base, maxsplit=1) if destination.base else ("", "")
    base, reference = parts
    with httpx2.Client(base_url=endpoint.copy_with(path="/"), timeout=TIMEOUT) as http:
        repository = Repository(http, name, secret, also_read=base)
        if destination.format == "modelpack":
            manifest, blobs = _modelpack(target, parcel)
        else:
            manifest, blobs = _image(parcel, *_base(repository, base, reference))
        manifest |= {"annotations": _annotations(target, parcel)}
        content = json.dumps(manifest, sort_keys=True).encode()
        if repository.digest_at(parcel.job.id) != digest_of(content):
            for blob in blobs:
                repository.put_blob(blob)
            repository.put_manifest(parcel.job.id, content)
    return f"oci://{endpoint.netloc.decode()}/{name}@{digest_of(content)}"


def _annotations(target: str, parcel: Parcel) -> dict[str, str]:
    return {
        "org.opencontainers.image.created": parcel.job.created_at.isoformat(),
        "org.opencontainers.image.title": target,
        "org.opencontainers.image.version": parcel.job.id,
    }


def _manifest(config: Blob, layers: Sequence[Blob]) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor,
        "layers": [each.descriptor for each in layers],
    }


def _modelpack(target: str, parcel: Parcel) -> tuple[Json, list[Blob]]:
    layers = [
        Blob(
            f"{_MODEL}.{_kind(path)}.v1.raw",
            f"sha256:{parcel.digests[path]}",
            file.stat().st_size,
            partial(chunks, file),
            {"org.cncf.model.filepath": path, "org.opencontainers.image.title": path},
        )
        for path, file in parcel.files.items()
    ]
    named = parcel.files.get("config.json")  # a router has none
    model = json.loads(named.read_bytes()) if named else {}
    figures = {
        "architecture": next(iter(model.get("architectures") or []), None),
        "format": "safetensors",
        "precision": model.get("dtype") or model.get("torch_dtype"),
    }
    descriptor = {
        "createdAt": parcel.job.created_at.isoformat(),
        "family": model.get("model_type"),
        "name": target,
        "version": parcel.job.id,
    }
    config = _json_blob(
        f"{_MODEL}.config.v1+json",
        {
            "descriptor": _known(descriptor),
            "config": _known(figures),
            "modelfs": {"type": "layers", "diffIds": [each.digest for each in layers]},
        },
    )
    kind = {"artifactType": f"{_MODEL}.manifest.v1+json"}
    return _manifest(config, layers) | kind, [*layers, config]


def _kind(path: str) -> str:
    if path.endswith(_WEIGHTS):
        return "weight"
    return "doc" if path.endswith(_DOCUMENTS) or path in _REPORTS else "weight.config"


def _known(values: Mapping[str, Any]) -> Json:
    return {name: value for name, value in values.items() if value is not None}


class _Rootfs(BaseModel):
    diff_ids: tuple[Digest, ...] = ()


class _Config(BaseModel, extra="allow"):
    """The configuration of an image; what we do not look at is handed on."""

    rootfs: _Rootfs = _Rootfs()
    history: Any = None  # would have to speak of our layers too


def _image(parcel: Parcel, base: _Config, below: Sequence[Blob]) -> tuple[Json, list[Blob]]:
    """An image of some layers and the files: each file of weights a layer, the others one."""
    weights = [{path: file} for path, file in parcel.files.items() if path.endswith(_WEIGHTS)]
    others = {path: file for path, file in parcel.files.items() if not path.endswith(_WEIGHTS)}
    layers = [_layer(files) for files in (*weights, others)]
    rootfs = {
        "type": "layers",
        "diff_ids": [*base.rootfs.diff_ids, *(each.digest for each in layers)],
    }
    kept = base.model_extra or {}
    config = _json_blob(_CONFIG, {"config": {}} | _PLATFORM | kept | {"rootfs": rootfs})
    layers = [*below, *layers]
    return _manifest(config, layers), [*layers, config]


def _base(repository: Repository, name: str, reference: str) -> tuple[_Config, list[Blob]]:
    """Configuration and layers of the image that the files are put upon; nothing without one."""
    if not name:
        return _Config(), []
    manifest = repository.manifest(name, reference)
    if manifest.manifests is not None:  # one for each platform
        images = [(each.platform or {}, each.digest) for each in manifest.manifests]
        ours = [digest for platform, digest in images if platform.items() >= _PLATFORM.items()]
        if not ours:
            raise PublishingError(f"{name} has no image for linux/amd64 at {reference}")
        manifest = repository.manifest(name, ours[0])
    if manifest.config is None:
        raise PublishingError(f"{name} has no image at {reference}")
    layers = [
        Blob(
            each.media_type.replace("docker.image.rootfs.diff", "oci.image.layer.v1"),
            each.digest,
            each.size,
            partial(repository.read, name, each.digest),
            source=name,
        )
        for each in manifest.layers
    ]
    content = b"".join(repository.read(name, manifest.config.digest))
    check_digest(content, manifest.config.digest)
    config = read_document(_Config, content, "configuration of an image")
    if len(config.rootfs.diff_ids) != len(layers):
        raise PublishingError(f"the configuration of {name} at {reference} has other layers")
    return config, layers


def _layer(files: Mapping[str, Path]) -> Blob:
    digest, size = hashlib.sha256(), 0
    for chunk in _tar(files):
        digest.update(chunk)
        size += len(chunk)
    return Blob(_LAYER, f"sha256:{digest.hexdigest()}", size, partial(_tar, files))


def _tar(files: Mapping[str, Path]) -> Iterator[bytes]:
    """A tar archive of files under `models`, with nothing in it that changes from time to time."""
    paths = {PurePosixPath(MODELS, path): file for path, file in files.items()}
    folders = {each for path in paths for each in path.parents} - {PurePosixPath()}
    for folder in sorted(folders):
        made = tarfile.TarInfo(f"{folder}/")
        made.type, made.mode = tarfile.DIRTYPE, 0o755
        yield made.tobuf(tarfile.PAX_FORMAT)
    for path, file in paths.items():
        member = tarfile.TarInfo(str(path))
        member.size = file.stat().st_size
        yield member.tobuf(tarfile.PAX_FORMAT)
        yield from chunks(file)
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _json_blob(media_type: str, document: Json) -> Blob:
    return blob_of(media_type, json.dumps(document, sort_keys=True).encode())
