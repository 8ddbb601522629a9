"""Sets of records by name: built in, uploaded, or on the Hugging Face Hub."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError


class Builtin(StrEnum):
    """Sets that come with the service, each with a calibration and an evaluation part."""

    SENTENCES = "sentences"
    SHAPES = "shapes"
    SCENES = "scenes"
    SCENE_CAPTIONS = "scene-captions"
    SCENE_IMAGES = "scene-images"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A set that a client has uploaded; `id` is `sha256:` and 64 hexadecimal digits."""

    id: str


@dataclass(frozen=True, slots=True)
class HubSet:
    """A split of a data set on the Hugging Face Hub at a branch, tag or commit."""

    repo_id: str
    split: str
    config: str | None = None
    revision: str = "main"


DatasetSource = Builtin | Uploaded | HubSet

UPLOADED = re.compile(r"sha256:[0-9a-f]{64}")
_HUB = re.compile(
    r"hf:(?P<repo_id>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?:/(?P<config>[\w.-]{1,96}))?(?:@(?P<revision>\w[\w./-]{0,127}))?#(?P<split>\w{1,64})"
)


def parse_dataset(name: str) -> DatasetSource:
    """Read the name of a set.

    Raises:
        PydanticCustomError: it is none of the three forms.
    """
    if name in set(Builtin):
        return Builtin(name)
    if UPLOADED.fullmatch(name):
        return Uploaded(name)
    if (match := _HUB.fullmatch(name)) and ".." not in name:
        return HubSet(**{key: value for key, value in match.groupdict().items() if value})
    raise PydanticCustomError(
        "dataset_name_invalid",
        "a data set is one of {builtin}, the id of an upload (sha256:...), or "
        "hf:organisation/name#split, with /config and @revision where needed",
        {"builtin": ", ".join(Builtin)},
    )


def _checked(name: str) -> str:
    parse_dataset(name)
    return name


DatasetName = Annotated[
    str,
    AfterValidator(_checked),
    Field(
        max_length=512,
        description="built in: `sentences` (text), `shapes` and `scene-captions` (drawn images "
        "with captions), `scenes` (drawn images with questions and answers), `scene-images` (drawn "
        "images alone); the id of an upload, "
        "see POST /v1/datasets; or `hf:organisation/name#split`",
        examples=["sentences", "hf:organisation/name/config@revision#test"],
    ),
]
