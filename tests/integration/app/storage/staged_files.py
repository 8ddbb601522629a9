"""Files of an attempt, staged to be published."""

import hashlib
import os
from pathlib import Path

import httpx2

from app.domain.jobs import Artifact
from app.storage import s3

JOB = f"job_{7:032x}"
LARGE = os.urandom(s3.PART + 1_000_000)
FILES = {"config.json": b"{}", "packed/a b.txt": b"text", "model.safetensors": LARGE, "empty": b""}


def stage(store, attempt=1, files=None):
    directory = store.stage(JOB, attempt)
    for name, content in (files or FILES).items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)


def artifact(path, attempt=1):
    content = FILES[path]
    return Artifact(
        JOB, attempt, path, len(content), hashlib.sha256(content).hexdigest(), "text/plain"
    )


def content_at(place, **headers):
    if isinstance(place, Path):
        return place.read_bytes()
    answer = httpx2.get(place, headers=headers, trust_env=False)
    assert answer.status_code in {200, 206}, answer.text
    return answer.content
