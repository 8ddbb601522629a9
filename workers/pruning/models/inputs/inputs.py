"""Calibration records -> model inputs, one record at a time, then padded into batches.

Padding is always on the right and marked in the attention mask, so tokenizers need no pad token.
An exception that a processor raises for a record becomes a `CalibrationDataError` that names the
record; one that a module of this project raises stays what it is, a mistake of this project.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from app.errors import CalibrationDataError, SecateurError
from app.messages import words_of
from workers.pruning.memory import out_of_memory
from workers.pruning.models.inputs.limits import refuse_no_room, shorten

_OURS = ("app.", "workers.")
_FOREIGN = (
    *("PIL.", "datasets.", "jinja2.", "sentencepiece.", "tiktoken.", "tokenizers."),
    *("transformers.", "torch.nn.modules."),
)


@contextmanager
def naming_record(number: int) -> Iterator[None]:
    """Name the record in whatever its encoding raises.

    Raises:
        CalibrationDataError: what went wrong with it.
    """
    try:
        yield
    except CalibrationDataError as error:
        raise CalibrationDataError(f"record {number}: {error}") from error
    except Exception as error:
        if not (is_foreign(error) or _odd_call(error)):
            raise
        raise CalibrationDataError(
            f"record {number}: the checkpoint's processor cannot take it: {foreign_message(error)}"
        ) from error


def foreign_message(error: Exception) -> str:
    """The error in a client's words."""
    return f"{words_of(error)} ({type(error).__name__})"


def is_foreign(error: Exception) -> bool:
    """Whether a library raised the error, about what it was given.

    Errors of ours, of memory, of the device and of the system are none; nor is what one of our
    modules raised inside of a library that called it.
    """
    if isinstance(error, SecateurError | torch.AcceleratorError) or out_of_memory(error):
        return False
    if f"{type(error).__module__}.".startswith(_OURS):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return any(f"{name}.".startswith(_FOREIGN) for name in _modules(error.__traceback__))


def _odd_call(error: Exception) -> bool:
    """Whether a processor wants other arguments than images and texts, which calling it tells."""
    return isinstance(error, TypeError) and "argument" in str(error)


def _modules(trace: TracebackType | None) -> list[str]:
    """Modules of the frames below the last one that is ours, outermost first."""
    found: list[str] = []
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        found = [] if f"{name}.".startswith(_OURS) else [*found, name]
        trace = trace.tb_next
    return found


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One sample: a text, an image, or an image with its text.

    `number` is that of its row in the set, from 1; messages name the record by it.
    """

    text: str | None = None
    image: Image.Image | None = None
    number: int | None = None


Sample = dict[str, Tensor]  # every entry has a leading dimension of one record

IGNORED_LABEL = -100  # transformers' losses skip it
_FILL = {"labels": IGNORED_LABEL}
_SEQUENCES = {
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "mm_token_type_ids",
    "decoder_input_ids",
    "decoder_attention_mask",
    "qformer_input_ids",
    "qformer_attention_mask",
    "labels",
}


def collate(samples: Sequence[Sample], pad_id: int) -> dict[str, Tensor]:
    """Join samples along the first dimension.

    Token sequences are padded on the right; other entries (pixels) with zeros, behind, in every
    dimension in which they differ (patches, images of one record, height, width).
    """
    batch: dict[str, Tensor] = {}
    _refuse_unlike(samples)
    for key in samples[0]:
        parts = [sample[key] for sample in samples]
        if parts[0].ndim > 1 and len({part.shape[1:] for part in parts}) > 1:
            fill = pad_id if key.endswith("input_ids") else _FILL.get(key, 0)
            largest = [max(sizes) for sizes in zip(*(p.shape for p in parts), strict=True)]
            parts = [_pad(part, largest, fill) for part in parts]
        batch[key] = torch.cat(parts)
    return batch


def _refuse_unlike(samples: Sequence[Sample]) -> None:
    forms = [{key: value.ndim for key, value in sample.items()} for sample in samples]
    if odd := next((form for form in forms if form != forms[0]), None):
        unlike = min(key for key, _ in odd.items() ^ forms[0].items())
        raise CalibrationDataError(
            f"the processor gives one record another {unlike} than the others of its batch; give "
            "batch_size 1"
        )


def _pad(part: Tensor, shape: list[int], fill: int) -> Tensor:
    """Pad behind, in every dimension but the first; torch counts from the last dimension."""
    amounts: list[int] = []
    for wanted, given in zip(reversed(shape[1:]), reversed(part.shape[1:]), strict=True):
        amounts += [0, wanted - given]
    return functional.pad(part, amounts, value=fill)


def chunks(records: Sequence[CalibrationRecord], size: int) -> Iterator[list[CalibrationRecord]]:
    """Records in groups of `size`; the last may be smaller."""
    for start in range(0, len(records), size):
        yield list(records[start : start + size])


def pad_id_of(processor: Any) -> int:
    """Id to pad with: any will do, masked as it is."""
    tokenizer = getattr(processor, "tokenizer", processor)
    known = (getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id"))
    return next((int(value) for value in known if value is not None), 0)


def encode_text(tokenizer: Any, text: str, max_length: int) -> Sample:
    """Tokenise one text with the tokenizer's special tokens, cut to `max_length` by the tokenizer.

    Raises:
        CalibrationDataError: it has no tokens, or there is no room for any.
    """
    refuse_no_room(tokenizer, max_length)
    encoded = tokenizer(
        [text],
        truncation=True,
        max_length=max_length,
        return_attention_mask=True,  # a tokenizer may be saved with a preference for none
        return_tensors="pt",
    )
    if encoded["input_ids"].shape[1] == 0:
        raise CalibrationDataError("its text has no tokens")
    return dict(encoded)


def encode_target(tokenizer: Any, text: str, max_length: int) -> Sample:
    """What an encoder-decoder shall write: labels, and a mask of the decoder's real inputs."""
    labels = encode_text(tokenizer, text, max_length)["input_ids"]
    return {"labels": labels, "decoder_attention_mask": torch.ones_like(labels)}


def halves(text: str) -> tuple[str, str]:
    """Cut a text in two at the space nearest its middle; a single word is both halves."""
    words = text.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:] or words)


def encode_image(image_processor: Any, image: Image.Image) -> Sample:
    """Preprocess an image alone."""
    return dict(image_processor(images=[image], return_tensors="pt"))


@dataclass(frozen=True, slots=True)
class Room:
    """How long a prompt may get.

    Attributes:
        max_length: tokens of its text, special ones included; those of the image are not counted.
        positions: tokens of text and image together.
        strict: more than `positions` cannot be computed at all.
    """

    max_length: int
    positions: int
    strict: bool


def encode_pair(
    processor: Any,
    write: Callable[[str], dict[str, Any]],
    text: str,
    image: Image.Image,
    room: Room,
) -> Sample:
    """Run a multimodal processor on one text and image; the text is cut before it is encoded.

    So the processor's special tokens, its placeholders of the image and its labels stay whole.

    Args:
        processor: of the checkpoint.
        write: its arguments for a text, the placeholder of the image included.
        text: what is asked or said.
        image: RGB.
        room: how long all of it may get.

    Raises:
        CalibrationDataError: the image alone takes more positions than the model has.
    """
    tokenizer = processor.tokenizer
    part = shorten(tokenizer, text, room.max_length)
    sample = _run(processor, write(part), image)
    excess = sample["input_ids"].shape[1] - room.positions
    if excess <= 0:
        return sample
    left = len(tokenizer([part])["input_ids"][0]) - excess
    if left > len(tokenizer([""])["input_ids"][0]):
        return _run(processor, write(shorten(tokenizer, part, left)), image)
    if room.strict:
        raise CalibrationDataError(
            f"its image takes so many tokens that no text fits beside it: {excess} more than the "
            f"{room.positions} the model has positions for, at max_length {room.max_length}; give "
            "a smaller image"
        )
    return sample


def encode_apart(processor: Any, text: str, image: Image.Image, max_length: int) -> Sample:
    """Run a processor whose images have no place in the text; its tokenizer cuts the text.

    Raises:
        CalibrationDataError: `max_length` leaves no room for text.
    """
    refuse_no_room(processor.tokenizer, max_length)
    return _run(processor, {"text": [text], "truncation": True, "max_length": max_length}, image)


def _run(processor: Any, arguments: dict[str, Any], image: Image.Image) -> Sample:
    try:
        sample = dict(processor(images=[image], **arguments).convert_to_tensors("pt"))
    except AttributeError:  # some count places on tensors
        sample = dict(processor(images=[image], **arguments, return_tensors="pt"))
    if "attention_mask" not in sample:  # a tokenizer may be saved with a preference for none
        sample["attention_mask"] = torch.ones_like(sample["input_ids"])
    return sample


def cut(sample: Sample, length: int) -> Sample:
    """The first `length` tokens of every token sequence."""
    whole = sample["input_ids"].shape[1]
    return {
        key: value[:, :length] if key in _SEQUENCES and value.shape[1] == whole else value
        for key, value in sample.items()
    }


def text_of(record: CalibrationRecord) -> str:
    """Text of a record.

    Raises:
        CalibrationDataError: it has none.
    """
    if not record.text or not record.text.strip():
        raise CalibrationDataError("it has no text, and this model needs one")
    return record.text


def image_of(record: CalibrationRecord) -> Image.Image:
    """Image of a record as RGB.

    Raises:
        CalibrationDataError: it has none, or one without pixels.
    """
    if record.image is None:
        raise CalibrationDataError(
            "it has no image, and this model needs one, as the records of `scene-captions` have"
        )
    if 0 in record.image.size:
        width, height = record.image.size
        raise CalibrationDataError(f"its image of {width} x {height} has no pixels")
    return record.image.convert("RGB")


def refuse_text(record: CalibrationRecord) -> None:
    """Raise where an image-only model is given a text.

    Raises:
        CalibrationDataError: the record has a text.
    """
    if record.text is not None:
        raise CalibrationDataError("it has a text, and this model sees images only")


def refuse_image(record: CalibrationRecord) -> None:
    """Raise where a text-only model is given an image.

    Raises:
        CalibrationDataError: the record has an image.
    """
    if record.image is not None:
        raise CalibrationDataError("it has an image, and this model reads text only")
