"""Calibration records -> model inputs, one record at a time, then padded into batches.

Padding is always on the right and marked in the attention mask, so tokenizers need no pad token.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from app.domain.errors import CalibrationDataError
from workers.pruning.models.records import CalibrationRecord

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

    Token sequences are padded on the right. Other entries (pixels) are padded with zeros where
    their second dimension (patches, images of one record) differs.
    """
    batch: dict[str, Tensor] = {}
    for key in samples[0]:
        parts = [sample[key] for sample in samples]
        if parts[0].ndim > 1 and len({part.shape[1:] for part in parts}) > 1:
            fill = pad_id if key.endswith("input_ids") else _FILL.get(key, 0)
            longest = max(part.shape[1] for part in parts)
            parts = [_pad(part, longest, fill) for part in parts]
        batch[key] = torch.cat(parts)
    return batch


def _pad(part: Tensor, length: int, fill: int) -> Tensor:
    behind = [0, 0] * (part.ndim - 2)
    return functional.pad(part, [*behind, 0, length - part.shape[1]], value=fill)


def chunks(records: Sequence[CalibrationRecord], size: int) -> Iterator[list[CalibrationRecord]]:
    """Records in groups of `size`; the last may be smaller."""
    for start in range(0, len(records), size):
        yield list(records[start : start + size])


def pad_id_of(tokenizer: Any) -> int:
    """Id to pad with: any will do, masked as it is."""
    known = (getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id"))
    return next((int(value) for value in known if value is not None), 0)


def encode_text(tokenizer: Any, text: str, max_length: int) -> Sample:
    """Tokenise one text with the tokenizer's special tokens, cut at `max_length`.

    Raises:
        CalibrationDataError: it has no tokens.
    """
    encoded = tokenizer([text], truncation=True, max_length=max_length, return_tensors="pt")
    if encoded["input_ids"].shape[1] == 0:
        raise CalibrationDataError("A calibration text has no tokens.")
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


def encode_image(image_processor: Any, record: CalibrationRecord) -> Sample:
    """Preprocess an image alone.

    Raises:
        CalibrationDataError: no image, or a text that this model could not read.
    """
    if record.text is not None:
        raise CalibrationDataError(
            "This model sees images only; calibrate it on images, not texts."
        )
    return dict(image_processor(images=[image_of(record)], return_tensors="pt"))


def encode_pair(
    processor: Any, prompt: str, image: Image.Image, max_length: int, **options: Any
) -> Sample:
    """Run a multimodal processor on one prompt and image; cut the text, never the image tokens."""
    encoded = processor(text=[prompt], images=[image], **options).convert_to_tensors("pt")
    return cut(dict(encoded), max_length, getattr(processor, "image_token_id", None))


def cut(sample: Sample, max_length: int, image_token_id: int | None = None) -> Sample:
    """Shorten token sequences to `max_length`, or to the last image token if that is later."""
    ids = sample["input_ids"]
    keep = max_length
    if image_token_id is not None and bool((ids == image_token_id).any()):
        last = int((ids[0] == image_token_id).nonzero().max())
        keep = max(keep, last + 1)
    length = ids.shape[1]
    return {
        key: value[:, :keep] if key in _SEQUENCES and value.shape[1] == length else value
        for key, value in sample.items()
    }


def text_of(record: CalibrationRecord) -> str:
    """Text of a record.

    Raises:
        CalibrationDataError: it has none.
    """
    if not record.text or not record.text.strip():
        raise CalibrationDataError("A calibration record has no text; this model needs one.")
    return record.text


def image_of(record: CalibrationRecord) -> Image.Image:
    """Image of a record as RGB.

    Raises:
        CalibrationDataError: it has none.
    """
    if record.image is None:
        raise CalibrationDataError("A calibration record has no image; this model needs one.")
    return record.image.convert("RGB")


def refuse_image(record: CalibrationRecord) -> None:
    """Raise where a text-only model is given an image.

    Raises:
        CalibrationDataError: the record has an image.
    """
    if record.image is not None:
        raise CalibrationDataError("This model reads text only; calibrate it on texts, not images.")
