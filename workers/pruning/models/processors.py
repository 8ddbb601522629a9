"""The checkpoint's own processor, tokenizer or image processor."""

from pathlib import Path
from typing import Any

import transformers
from transformers import ProcessorMixin

from workers.pruning.models.checkpoint import foreign_words, read_json

_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_ERRORS = (OSError, ValueError, TypeError, ImportError, AttributeError, KeyError)


def load_processor(directory: Path) -> tuple[Any, str | None]:
    """What turns records into model inputs, or None and the reason why there is nothing.

    Video processors need torchvision. Calibration sets hold no videos, so a processor that cannot
    get its video part is put together without it.
    """
    auto: Any = transformers.AutoProcessor  # auto classes carry no annotations
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        return auto.from_pretrained(directory, **options), None
    except _ERRORS as error:
        reason = foreign_words(error, directory)
    try:
        return _without_video(directory, options), reason
    except _ERRORS:
        return None, reason


def _without_video(directory: Path, options: dict[str, Any]) -> Any:
    images: Any = transformers.AutoImageProcessor
    saved: dict[str, Any] = {}
    for name in reversed(_FILES):
        if (directory / name).exists():
            content = read_json(directory, name)
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
