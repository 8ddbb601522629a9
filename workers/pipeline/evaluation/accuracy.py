"""Answer and caption accuracy: the generated text is the expected one, word for word."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.domain.errors import CalibrationDataError, EvaluationDataError
from app.domain.evaluation import MetricName
from workers.pipeline.datasets.record import Record
from workers.pipeline.evaluation.interval import Scores
from workers.pipeline.evaluation.metric import OwnMetric, ScoresOf
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models import inputs


class Accuracy(OwnMetric):
    """Greedy generation; case and white space do not count."""

    names = (MetricName.ACCURACY,)

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Models that write, on prompts with answers (a caption is the answer to its prompt)."""
        return subject.writes and subject.every("prompt") and subject.every("answer")

    def measure(self, subject: Subject) -> ScoresOf:
        """A hit or a miss per record."""
        said = answers(subject)
        hits = np.array(
            [
                _words(text) == _words(r.answer)
                for text, r in zip(said, subject.records, strict=True)
            ],
            dtype=np.float64,
        )
        return {MetricName.ACCURACY: Scores(hits, np.ones_like(hits))}


def answers(subject: Subject) -> list[str]:
    """What the model says to the prompt of each record."""
    said = [""] * len(subject.records)
    for places, batch in _prompts(subject):
        subject.check()
        for place, text in zip(places, _generate(subject, batch), strict=True):
            said[place] = text
    return said


def _words(text: str | None) -> list[str]:
    return (text or "").casefold().split()


def _prompts(subject: Subject) -> Iterator[tuple[list[int], inputs.Sample]]:
    """Batches of prompts of one length: generation then needs no padding on either side."""
    waiting: dict[int, list[tuple[int, inputs.Sample]]] = {}
    for place, record in enumerate(subject.records):
        sample = _encode(subject, record)
        group = waiting.setdefault(sample["input_ids"].shape[1], [])
        group.append((place, sample))
        if len(group) == subject.spec.batch_size:
            yield _joined(waiting.pop(sample["input_ids"].shape[1]))
    yield from map(_joined, waiting.values())


def _joined(group: list[tuple[int, inputs.Sample]]) -> tuple[list[int], inputs.Sample]:
    return [place for place, _ in group], inputs.collate([sample for _, sample in group], 0)


def _encode(subject: Subject, record: Record) -> inputs.Sample:
    adapter, limit = subject.adapter, subject.spec.max_length
    try:
        if isinstance(adapter.processor, PreTrainedTokenizerBase):
            inputs.refuse_image(record.calibration)
            sample = inputs.encode_text(adapter.processor, record.prompt or "", limit)
        else:
            image = inputs.image_of(record.calibration)
            prompt = adapter.prompt(record.prompt or "")
            sample = inputs.encode_pair(adapter.processor, prompt, image, limit)
    except CalibrationDataError as error:
        raise EvaluationDataError(f"evaluation set: {error}") from error
    if adapter.model.config.is_encoder_decoder or _is_blip(subject):
        return sample
    return _open_ended(subject, sample)


def _is_blip(subject: Subject) -> bool:
    """BLIP's generate sets pad and start token itself and takes the end token off the prompt."""
    return subject.architecture.startswith("BlipFor")


def _open_ended(subject: Subject, sample: inputs.Sample) -> inputs.Sample:
    """Without the end token that some tokenizers put behind every text."""
    end = getattr(subject.adapter.tokenizer, "eos_token_id", None)
    ids = sample["input_ids"]
    return inputs.cut(sample, ids.shape[1] - 1) if ids[0, -1] == end else sample


def _generate(subject: Subject, batch: inputs.Sample) -> list[str]:
    model: Any = subject.adapter.model
    placed = {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for key, value in batch.items()
        if key != "token_type_ids" or key in subject.adapter.accepted
    }
    options: dict[str, Any] = {"max_new_tokens": subject.spec.max_new_tokens}
    if model.generation_config.pad_token_id is None and not _is_blip(subject):
        options["pad_token_id"] = inputs.pad_id_of(subject.adapter.tokenizer)
    written = model.generate(**placed, **options, do_sample=False, num_beams=1)
    written = written[:, _repeated(written, placed["input_ids"], short=_is_blip(subject)) :]
    said: list[str] = subject.adapter.tokenizer.batch_decode(written, skip_special_tokens=True)
    return said


def _repeated(written: Tensor, prompt: Tensor, *, short: bool) -> int:
    """How many tokens of the prompt stand in front of the answer; encoder-decoders repeat none."""
    width = prompt.shape[1] - short
    same = written.shape[1] >= width and torch.equal(written[:, 1:width], prompt[:, 1:width])
    return width if same else 0
