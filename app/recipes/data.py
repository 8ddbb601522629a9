"""Data sets by their names, and which of them a model takes, as its config.json tells."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.errors import CalibrationDataError, RecipeError, UserError
from app.recipes.modality import Modality
from app.strict import Strict


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
        "a data set is one of {builtin}, the id that the upload of a file gave (sha256:...), or "
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


_IMAGE_HEADS = ("ForImageClassification", "ForMaskedImageModeling", "VisionModel")
_TEXT_SIDE = {Modality.TEXT, Modality.LANGUAGE}

FIELDS: dict[Builtin, frozenset[str]] = {
    Builtin.SENTENCES: frozenset({"text"}),
    Builtin.SHAPES: frozenset({"text", "image"}),
    Builtin.SCENES: frozenset({"prompt", "answer", "image"}),
    Builtin.SCENE_CAPTIONS: frozenset({"text", "image"}),
    Builtin.SCENE_IMAGES: frozenset({"image"}),
}
"""Fields of the records of each built-in set."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every record of a set has to have; what is not taken must not be there."""

    texts: bool
    images: bool

    def __str__(self) -> str:
        """For messages."""
        if self.texts and self.images:
            return "images with texts"
        return "images alone" if self.images else "texts alone"


def inputs_of(config: Mapping[str, Any]) -> Inputs | None:
    """What the model of a configuration takes; None where it does not tell.

    Args:
        config: of config.json, parts of a composite model nested in it.
    """
    keys = set(_keys(config))
    name = architecture_of(config)
    sees = any("vision" in key for key in keys) or bool(keys & {"image_size", "patch_size"})
    reads = bool(keys & {"vocab_size", "text_config"})
    if any("mel_bins" in key or key == "feat_extract_norm" for key in keys) and not sees:
        return None
    if "num_mel_bins" in config:
        return None
    if sees and (name.endswith(_IMAGE_HEADS) or "VisionModel" in name):
        return Inputs(texts=False, images=True)
    if reads and "TextModel" in name:
        return Inputs(texts=True, images=False)
    return Inputs(reads, sees) if reads or sees else None


def architecture_of(config: Mapping[str, Any]) -> str:
    """Name of the model's class; empty where the configuration does not tell."""
    architectures = config.get("architectures")
    return str(architectures[0]) if isinstance(architectures, list) and architectures else ""


def _keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        yield str(key)
        if isinstance(value, dict) and key not in {"id2label", "label2id"}:
            yield from _keys(value)


Tokens: TypeAlias = Literal["all", "atv", "amia"]
"""Which tokens of a stream of text and image tokens the statistics of inputs see: all; all text and
the image tokens that a block changes most; or, for every matrix, few that stand for all."""


class CalibrationSpec(Strict):
    """Which data a method looks at, and how much of it."""

    set: DatasetName | None = Field(
        default=None,
        description="by default a built-in set that the model takes: `sentences` (texts), "
        "`scene-captions`, `scene-images`, or `scenes` for a method that learns from prompts",
        examples=["scene-captions"],
    )
    samples: int = Field(default=64, ge=1, le=4096, description="rows taken from the set")
    max_length: int = Field(
        default=128, ge=4, le=8192, description="tokens a text is cut to, those of images apart"
    )
    batch_size: int = Field(default=8, ge=1, le=256, description="rows per forward pass")
    tokens: Tokens | None = Field(
        default=None,
        description="which tokens count where text and image tokens share a stream: `all`, `atv` "
        "(all text, and the image tokens that a block changes most) or `amia` (few that stand for "
        "all, anew for every matrix); by default what the method says, which is mostly all",
    )


def default_set(takes: Inputs | None, *, prompts: bool) -> Builtin:
    """The built-in set to calibrate on.

    Args:
        takes: what the model takes; None where that is not known.
        prompts: the method wants questions with their images.
    """
    if prompts:
        return Builtin.SCENES
    if takes is None or not takes.images:
        return Builtin.SENTENCES
    return Builtin.SCENE_CAPTIONS if takes.texts else Builtin.SCENE_IMAGES


def check_calibration(takes: Inputs, model: str, name: str, fields: Collection[str]) -> None:
    """Refuse a calibration set that the model cannot take.

    Args:
        takes: what the model takes.
        model: what to call it.
        name: of the set.
        fields: of its records.

    Raises:
        CalibrationDataError: the message says what would fit.
    """
    if (reason := _unfit(takes, fields)) is not None:
        raise CalibrationDataError(_refusal("calibration", takes, model, name, reason))


def check_evaluation(takes: Inputs, model: str, name: str, fields: Collection[str]) -> None:
    """The same for an evaluation set; labels of images stand for texts there.

    Raises:
        EvaluationDataError: the message says what would fit.
    """
    labelled = {"text"} if "label" in fields and takes.images and takes.texts else set()
    if (reason := _unfit(takes, {*fields, *labelled})) is not None:
        raise EvaluationDataError(_refusal("evaluation", takes, model, name, reason))


def _unfit(takes: Inputs, fields: Collection[str]) -> str | None:
    texts, images = bool({"text", "prompt"} & set(fields)), "image" in fields
    if (texts, images) == (takes.texts, takes.images):
        return None
    return str(Inputs(texts, images)) if texts or images else "neither texts nor images"


def _refusal(use: str, takes: Inputs, model: str, name: str, has: str) -> str:
    known = [str(each) for each, fields in FIELDS.items() if _unfit(takes, fields) is None]
    return (
        f"{use} set {name} holds {has}, and {model} takes {takes}; of the built-in sets "
        f"{', '.join(known)} would fit, or upload one of your own"
    )


def check_modalities(takes: Inputs, model: str, asked: Collection[Modality]) -> None:
    """Refuse a share for a part that the model does not have.

    Raises:
        RecipeError: the message says which part.
    """
    absent = {Modality.BRIDGE, Modality.FUSION} if not (takes.texts and takes.images) else set()
    absent |= set() if takes.images else {Modality.VISION}
    absent |= set() if takes.texts else _TEXT_SIDE
    if lacking := sorted(absent & set(asked)):
        raise RecipeError(
            f"a share is given for {', '.join(lacking)}, and {model}, which takes {takes}, has no "
            "such part; leave it out"
        )


class EvaluationDataError(UserError):
    """The evaluation set cannot be given to this model."""

    code = "evaluation_data_invalid"
