"""Signatures, verified by the command of the library that defines them."""

import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.errors import SigningError
from workers.pipeline.signing import SIGNATURE, Signer


def write_key(path, key, password=None):
    locked = serialization.BestAvailableEncryption(password) if password else None
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            locked or serialization.NoEncryption(),
        )
    )
    public = path.with_suffix(".pub")
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path, public


def verified(directory, public):
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(directory)]
    command += ["--signature", str(directory / SIGNATURE), "--public_key", str(public)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def result(tmp_path):
    directory = tmp_path / "result"
    (directory / "sparse").mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"weights")
    (directory / "sparse" / "masks.safetensors").write_bytes(b"masks")
    return directory


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_command_of_model_signing_verifies_a_result(result, tmp_path, curve):
    key, public = write_key(tmp_path / "key.pem", ec.generate_private_key(curve))
    signed = Signer(key).sign(result)
    assert (signed.path, signed.size) == (SIGNATURE, (result / SIGNATURE).stat().st_size)
    assert signed.media_type == "application/json"  # `.sig` would be PGP's
    assert json.loads((result / SIGNATURE).read_bytes())["dsseEnvelope"]
    assert verified(result, public)
    assert b"PRIVATE" not in (result / SIGNATURE).read_bytes()


@pytest.mark.parametrize("change", ["changed", "added", "removed", "another key"])
def test_what_was_changed_is_not_verified(result, tmp_path, change):
    key, public = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    Signer(key).sign(result)
    if change == "changed":
        (result / "sparse" / "masks.safetensors").write_bytes(b"Masks")
    elif change == "added":
        (result / "sparse" / "more.safetensors").write_bytes(b"more")
    elif change == "removed":
        (result / "sparse" / "masks.safetensors").unlink()
    else:
        _, public = write_key(tmp_path / "other.pem", ec.generate_private_key(ec.SECP256R1()))
    assert not verified(result, public)


def test_a_key_that_cannot_be_used_is_refused_with_its_path(tmp_path):
    path = tmp_path / "key.pem"
    with pytest.raises(SigningError, match=r"key\.pem cannot be read: No such file"):
        Signer(path)
    path.write_text("no key")
    with pytest.raises(SigningError, match=r"key\.pem is no private key on P-256"):
        Signer(path)
    for key, password in [
        (rsa.generate_private_key(65537, 2048), None),
        (ec.generate_private_key(ec.SECP256K1()), None),
        (ec.generate_private_key(ec.SECP256R1()), b"secret"),
    ]:
        write_key(path, key, password)
        with pytest.raises(SigningError, match=r"key\.pem is no private key on P-256"):
            Signer(path)


def test_what_cannot_be_signed_is_an_error(result, tmp_path):
    key, _ = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    (result / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(SigningError, match="cannot be signed"):
        Signer(key).sign(result)
    assert not (result / SIGNATURE).exists()


def test_an_installation_without_the_library_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(SigningError, match=r"secateur\[signing\]"):
        Signer(tmp_path / "key.pem")
