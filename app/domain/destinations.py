"""Where files can be published: an address, and the name of the secret that opens it."""

from typing import Annotated, Literal

from pydantic import Field

from app.recipes.recipe import Strict
from app.urls import UrlText, UrlTextOrNone

SecretName = Annotated[
    str,
    Field(
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="environment variable of the maintenance process that holds the secret",
    ),
]


class _Destination(Strict):
    projects: tuple[str, ...] = Field(
        default=(), description="ids of the projects that may publish here; none: all"
    )


class HuggingFace(_Destination):
    """A Hugging Face hub; the target is a repository."""

    kind: Literal["huggingface"]
    endpoint: UrlText = "https://huggingface.co"
    private: bool = True
    secret: SecretName = Field(description="a token that may write")


class MlFlow(_Destination):
    """An MLflow server; the target is an experiment and a registered model."""

    kind: Literal["mlflow"]
    endpoint: UrlText
    secret: SecretName | None = Field(
        default=None, description="a token, or user:password; None: the server asks for nothing"
    )


class S3Prefix(_Destination):
    """A bucket; the target is a prefix under `url`."""

    kind: Literal["s3"]
    url: str = Field(pattern=r"^s3://[^/]+(/.*)?$")
    endpoint: UrlTextOrNone = ""
    region: str = "us-east-1"
    secret: SecretName = Field(description="access key id and secret access key, id:secret")


Destination = Annotated[HuggingFace | MlFlow | S3Prefix, Field(discriminator="kind")]
