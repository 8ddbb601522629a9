"""The checkpoint's own processor, tokenizer or image processor."""

import json
from pathlib import Path
from typing import Any

import transformers
from transformers import ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from app.messages import words_of

_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tekken.json"),
)
_IMAGES = ("preprocessor_config.json", "image_processor_config.json")
_OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_processor(directory: Path, name: str) -> tuple[Any, str | None]:
    """What turns records into model inputs, or None; and what is wrong where something is.

    Video processors need torchvision. Calibration sets hold no videos, so a processor that cannot
    get its video part is put together without it.

    Args:
        directory: of the checkpoint's files.
        name: what messages call it.
    """
    auto: Any = transformers.AutoProcessor  # auto classes carry no annotations
    found, problem = None, None
    try:
        found = auto.from_pretrained(directory, **_OPTIONS)
    except Exception as error:  # noqa: BLE001 (whatever foreign files make three libraries raise)
        problem = words_of(error, directory, name)
        try:
            found = _without_video(directory, _OPTIONS)
        except Exception:  # noqa: BLE001 (the first reason counts)
            found = None
    return found, _cause(directory, name, found) or problem


def _cause(directory: Path, name: str, found: Any) -> str | None:
    """Which part cannot be read, and why: transformers names it for none of the parts it tries."""
    untyped: Any = transformers
    parts = (
        ("tokenizer", untyped.AutoTokenizer, _TOKENIZER, transformers.PreTrainedTokenizerBase),
        ("image processor", untyped.AutoImageProcessor, _IMAGES, BaseImageProcessor),
    )
    for part, auto, files, kind in parts:
        there = [file for file in files if (directory / file).exists()]
        attribute = getattr(found, part.replace(" ", "_"), found)
        if there and not isinstance(attribute, kind):
            try:
                auto.from_pretrained(directory, **_OPTIONS)
            except Exception as error:  # noqa: BLE001 (as above)
                return f"its {part} cannot be read: {words_of(error, directory, name)}"
    return None


def _without_video(directory: Path, options: dict[str, Any]) -> Any:
    images: Any = transformers.AutoImageProcessor
    saved: dict[str, Any] = {}
    for name in reversed(_FILES):
        if (directory / name).exists():
            content = json.loads((directory / name).read_text(encoding="utf-8"))
            saved = content if name == _FILES[0] else {**saved, **_class_of(content)}
    processor_class: Any = getattr(transformers, str(saved.get("processor_class")), None)
    if not (isinstance(processor_class, type) and issubclass(processor_class, ProcessorMixin)):
        return None
    untyped: Any = processor_class
    if "video_processor" not in untyped.get_attributes():
        return None
    extra = {key: value for key, value in saved.items() if not isinstance(value, dict)}
    extra.pop("processor_class", None)
    return image_only(processor_class)(
        image_processor=images.from_pretrained(directory, **options),
        tokenizer=transformers.AutoTokenizer.from_pretrained(directory, **options),
        video_processor=None,
        **extra,
    )


def _class_of(content: dict[str, Any]) -> dict[str, Any]:
    name = content.get("processor_class")
    return {"processor_class": name} if name else {}


def image_only(processor_class: type[ProcessorMixin]) -> Any:
    """The processor class, made to accept None for its video processor."""

    def check(_self: ProcessorMixin, _name: str, argument: Any) -> type:
        return type(argument)

    return type(
        processor_class.__name__, (processor_class,), {"check_argument_for_proper_class": check}
    )
