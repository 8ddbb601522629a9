"""Signatures of results, in the format of OpenSSF Model Signing.

Source: https://github.com/ossf/model-signing-spec (version 1.0)
"""

from dataclasses import replace
from pathlib import Path

from app.errors import SigningError
from workers.pipeline.export import OutputFile, hash_file

SIGNATURE = "model.sig"


class Signer:
    """Signs directories with the operator's key."""

    def __init__(self, key: Path) -> None:
        """Read the key.

        Args:
            key: PEM file of a private key on P-256, P-384 or P-521, not encrypted.

        Raises:
            SigningError: there is no such file or it holds something else, or the extra `signing`
                is not installed.
        """
        try:
            from model_signing.signing import Config  # noqa: PLC0415  most workers do not sign
        except ImportError as error:
            raise SigningError("to sign results, install secateur[signing]") from error
        try:
            config = Config()  # type: ignore[no-untyped-call]
            self._config = config.use_elliptic_key_signer(private_key=key)
        except OSError as error:
            raise SigningError(f"the signing key {key} cannot be read: {error.strerror}") from error
        # The last two: an encrypted key, and a key of another kind.
        except (ValueError, TypeError, AttributeError) as error:
            raise SigningError(
                f"the signing key {key} is no private key on P-256, P-384 or P-521 in PEM without "
                "a password"
            ) from error

    def sign(self, directory: Path) -> OutputFile:
        """Write `model.sig` over all files of the directory.

        Raises:
            SigningError: something in it is neither a file nor a folder.
        """
        signature = directory / SIGNATURE
        try:
            self._config.sign(directory, signature)
        except ValueError as error:
            raise SigningError(f"the result cannot be signed: {error}") from error
        return replace(hash_file(directory, signature), media_type="application/json")
