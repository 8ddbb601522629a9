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

    Token sequences are padded on the right; other entries (pixels) with zeros, behind, in every
    dimension in which they differ (patches, images of one record, height, width).
    """
    batch: dict[str, Tensor] = {}
    for key in samples[0]:
        parts = [sample[key] for sample in samples]
        if parts[0].ndim > 1 and len({part.shape[1:] for part in parts}) > 1:
            fill = pad_id if key.endswith("input_ids") else _FILL.get(key, 0)
            largest = [max(sizes) for sizes in zip(*(p.shape for p in parts), strict=True)]
            parts = [_pad(part, largest, fill) for part in parts]
        batch[key] = torch.cat(parts)
    return batch


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


def encode_image(image_processor: Any, image: Image.Image) -> Sample:
    """Preprocess an image alone."""
    return dict(image_processor(images=[image], return_tensors="pt"))


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
        raise CalibrationDataError(
            "A calibration record has no image; this model needs one, as `scene-captions` has."
        )
    return record.image.convert("RGB")


def refuse_text(record: CalibrationRecord) -> None:
    """Raise where an image-only model is given a text.

    Raises:
        CalibrationDataError: the record has a text.
    """
    if record.text is not None:
        raise CalibrationDataError("This model sees images only; leave the texts out.")


def refuse_image(record: CalibrationRecord) -> None:
    """Raise where a text-only model is given an image.

    Raises:
        CalibrationDataError: the record has an image.
    """
    if record.image is not None:
        raise CalibrationDataError("This model reads text only; calibrate it on texts, not images.")
