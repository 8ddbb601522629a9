"""A worker with a signing key publishes signed results, or none."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.db import artifacts, jobs
from app.domain.jobs import JobStatus, NewJob
from app.domain.projects import DEFAULT_PROJECT
from app.domain.submission import JobRequest, resolve
from app.errors import SigningError
from workers.pipeline.signing import SIGNATURE, Signer

REQUEST = JobRequest(model="llava", method="magnitude", sparsity=0.5, device="cpu")


@pytest.fixture
def key(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "key.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def run(engine, runner):
    """A job carried out: its row and its files."""
    new = NewJob(request=REQUEST, spec=resolve(REQUEST), max_attempts=1)
    with engine.begin() as connection:
        job, _ = jobs.queue(connection, new, key_id="", action=None)
    assert runner.run(job.id)
    with engine.connect() as connection:
        return jobs.get(connection, DEFAULT_PROJECT, job.id), artifacts.of_job(connection, job.id)


def test_a_signed_result_is_verified_by_the_command_of_model_signing(engine, runner, key, tmp_path):
    runner._signer = Signer(key)
    job, files = run(engine, runner)
    assert job.status is JobStatus.SUCCEEDED
    directory = tmp_path / "download"
    for file in files:
        target = directory / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(runner._store.read(file)))
    assert {SIGNATURE, "manifest.json", "bom.cdx.json"} < {file.path for file in files}
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(directory)]
    command += ["--signature", str(directory / SIGNATURE)]
    command += ["--public_key", str(key.with_suffix(".pub"))]
    subprocess.run(command, check=True)
    (directory / "manifest.json").write_text("{}")
    assert subprocess.run(command, check=False).returncode != 0


def test_a_result_that_cannot_be_signed_is_not_published(engine, runner, key, monkeypatch):
    runner._signer = Signer(key)

    def fail(_directory):
        raise SigningError("the result cannot be signed: no")

    monkeypatch.setattr(runner._signer, "sign", fail)
    job, files = run(engine, runner)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "signing_failed")
    assert files == []
