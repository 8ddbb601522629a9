"""Prompts a model answers: records as inputs without an answer, and greedy generation from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs import inputs
from workers.pruning.models.inputs.inputs import CalibrationRecord


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of one length, so that nothing needs padding.

    Attributes:
        places: of the records, in the order they were given.
        inputs: of the model, on its device; B rows.
    """

    places: tuple[int, ...]
    inputs: inputs.Sample


def prompt_batches(
    adapter: Adapter, records: Iterable[CalibrationRecord], *, batch_size: int, max_length: int
) -> Iterator[Prompts]:
    """Batches of prompts of one length, each as soon as it is full; the rest at the end.

    Args:
        adapter: of the model.
        records: the text is what is asked.
        batch_size: most records per batch.
        max_length: tokens a text is cut to.

    Raises:
        CalibrationDataError: a record cannot be given to this model.
    """
    waiting: dict[int, list[tuple[int, inputs.Sample]]] = {}
    for place, record in enumerate(records):
        sample = encode_prompt(adapter, record, max_length, place + 1)
        length = sample["input_ids"].shape[1]
        group = waiting.setdefault(length, [])
        group.append((place, sample))
        if len(group) == batch_size:
            yield _joined(adapter, waiting.pop(length))
    for group in waiting.values():
        yield _joined(adapter, group)


def _joined(adapter: Adapter, group: list[tuple[int, inputs.Sample]]) -> Prompts:
    joined = adapter.joined([sample for _, sample in group])
    return Prompts(tuple(place for place, _ in group), joined)


def encode_prompt(
    adapter: Adapter, record: CalibrationRecord, max_length: int, place: int = 1
) -> inputs.Sample:
    """One record as the beginning of an answer.

    Args:
        adapter: of the model.
        record: the text is what is asked.
        max_length: tokens the text is cut to, special ones included.
        place: its number in the set, from 1, where it does not carry its own.

    Raises:
        CalibrationDataError: the record cannot be given to this model; the message names it.
    """
    adapter.refuse_no_processor()
    return adapter.encoded(partial(_encode, adapter), record, place, max_length)


def _encode(adapter: Adapter, record: CalibrationRecord, max_length: int) -> inputs.Sample:
    if isinstance(adapter.processor, PreTrainedTokenizerBase):
        inputs.refuse_image(record)
        sample = inputs.encode_text(adapter.processor, record.text or "", max_length)
    else:
        sample = adapter.encode_pair(record.text or "", inputs.image_of(record), max_length)
    if adapter.model.config.is_encoder_decoder or _is_blip(adapter):
        return sample
    return _open_ended(adapter, sample)


def _is_blip(adapter: Adapter) -> bool:
    """BLIP's generate sets pad and start token itself and takes the end token off the prompt."""
    return type(adapter.model).__name__.startswith("BlipFor")


def _open_ended(adapter: Adapter, sample: inputs.Sample) -> inputs.Sample:
    """Without the end token that some tokenizers put behind every text."""
    end = getattr(adapter.tokenizer, "eos_token_id", None)
    ids = sample["input_ids"]
    return inputs.cut(sample, ids.shape[1] - 1) if ids[0, -1] == end else sample


def generate(adapter: Adapter, prompts: Prompts, max_new_tokens: int) -> Tensor:
    """Greedy answers as token ids (B, A), without the prompt; shorter ones are padded behind."""
    model: Any = adapter.model
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    if model.generation_config.pad_token_id is None and not _is_blip(adapter):
        options["pad_token_id"] = inputs.pad_id_of(adapter.tokenizer)
    written = model.generate(**prompts.inputs, **options, do_sample=False, num_beams=1)
    width = _repeated(written, prompts.inputs["input_ids"], short=_is_blip(adapter))
    answers: Tensor = written[:, width:]
    return answers


def _repeated(written: Tensor, prompt: Tensor, *, short: bool) -> int:
    """How many tokens of the prompt stand in front of the answer; encoder-decoders repeat none."""
    width = prompt.shape[1] - short
    same = written.shape[1] >= width and torch.equal(written[:, 1:width], prompt[:, 1:width])
    return width if same else 0
