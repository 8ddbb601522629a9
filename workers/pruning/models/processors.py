"""Processors of checkpoints whose video, audio or torchvision parts are not to be had here.

Calibration sets hold images and texts, so these are put together from their tokenizer and from the
Pillow form of their image processor.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import ProcessorMixin

_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_PARTS = {"image_processor", "tokenizer"}


class _Absent:
    """Stands for a processor of videos or sounds: whatever it is asked for is nothing."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


ABSENT = _Absent()


def images_and_texts(directory: Path, options: Mapping[str, Any]) -> Any:
    """The processor that the files name, of images and texts alone; None where they name none.

    Args:
        directory: of the checkpoint's files.
        options: of `from_pretrained`.
    """
    images: Any = transformers.AutoImageProcessor  # auto classes carry no annotations
    texts: Any = transformers.AutoTokenizer
    saved: dict[str, Any] = {}
    for name in reversed(_FILES):
        if (directory / name).exists():
            content = json.loads((directory / name).read_text(encoding="utf-8"))
            saved = content if name == _FILES[0] else {**saved, **_class_of(content)}
    made = processor_class(str(saved.get("processor_class")))
    if made is None or not set(made.get_attributes()) >= _PARTS:
        return None
    parts = dict.fromkeys(made.get_attributes(), ABSENT)
    wanted = inspect.signature(made.__init__).parameters.keys() - parts.keys()
    parts["image_processor"] = images.from_pretrained(directory, **options)
    parts["tokenizer"] = texts.from_pretrained(directory, **options)
    own = {key: value for key, value in saved.items() if key in wanted}
    return image_only(made)(**parts, **own)


def _class_of(content: dict[str, Any]) -> dict[str, Any]:
    name = content.get("processor_class")
    return {"processor_class": name} if name else {}


def processor_class(name: str) -> Any:
    """The class; None where transformers has none.

    One that transformers ties to torchvision imports from the Pillow form what it would from that.
    """
    found: Any = getattr(transformers, name, None)
    if not isinstance(found, type) or issubclass(found, ProcessorMixin):
        return found if isinstance(found, type) else None
    package, _, module = found.__module__.rpartition(".")
    if not module.startswith("processing_"):
        return None
    twin = importlib.import_module(f"{package}.image_processing_pil_{module[len('processing_') :]}")
    sys.modules.setdefault(f"{package}.image_{module}", twin)
    return getattr(importlib.import_module(found.__module__), name)


def image_only(made: Any) -> Any:
    """The processor class, made to accept anything for its parts."""

    def check(_self: ProcessorMixin, _name: str, argument: Any) -> type:
        return type(argument)

    return type(made.__name__, (made,), {"check_argument_for_proper_class": check})
