"""Answer and caption accuracy: the generated text is the expected one, word for word."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from app.errors import CalibrationDataError
from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import MetricName, SampleAnswer
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.metric import Metric, ScoresOf
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.prompts import generate, prompt_batches


class Accuracy(Metric):
    """Greedy generation; case and white space do not count."""

    names = (MetricName.ACCURACY,)

    def __init__(self, scratch: Path) -> None:
        """Nothing was said yet."""
        super().__init__(scratch)
        self._dense: list[str] = []
        self._pruned: list[str] = []

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Models that write, on prompts with answers (a caption is the answer to its prompt)."""
        return subject.writes and subject.every("prompt") and subject.every("answer")

    def before(self, subject: Subject) -> ScoresOf:
        """A hit or a miss of the dense model per record.

        Raises:
            EvaluationDataError: an answer holds no word, or a record cannot be given to this model.
        """
        for number, record in enumerate(subject.records):
            if not _words(record.answer):
                raise EvaluationDataError(f"the answer of record {number + 1} holds no word")
        self._dense = answers(subject)
        return _scores(subject, self._dense)

    def after(self, subject: Subject) -> ScoresOf:
        """The same of the pruned model."""
        self._pruned = answers(subject)
        return _scores(subject, self._pruned)

    def sample_answers(self, subject: Subject) -> Sequence[SampleAnswer]:
        """The answers to the first records, as many as are asked for."""
        said = zip(subject.records, self._dense, self._pruned, strict=True)
        return [
            SampleAnswer.of(
                number,
                prompt=record.prompt or "",
                expected=record.answer or "",
                dense=dense,
                pruned=pruned,
            )
            for number, (record, dense, pruned) in enumerate(
                islice(said, subject.spec.answers_kept), start=1
            )
        ]

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Also where all answers are the same words."""
        if len({tuple(_words(record.answer)) for record in subject.records}) == 1:
            told = "all records have the same answer: a model that always says it is right"
            return {MetricName.ACCURACY: told}
        return super().doubts(subject, scores)


def _scores(subject: Subject, said: Sequence[str]) -> ScoresOf:
    pairs = zip(said, subject.records, strict=True)
    hits = np.array([_words(text) == _words(each.answer) for text, each in pairs], np.float64)
    return {MetricName.ACCURACY: RecordScores(hits, np.ones_like(hits))}


def answers(subject: Subject) -> list[str]:
    """What the model says to the prompt of each record.

    Raises:
        EvaluationDataError: a record cannot be given to this model.
    """
    said = [""] * len(subject.records)
    adapter, spec = subject.adapter, subject.spec
    asked = [record.question for record in subject.records]
    made = prompt_batches(adapter, asked, batch_size=spec.batch_size, max_length=spec.max_length)
    try:
        for prompts in made:
            subject.check()
            written = generate(adapter, prompts, spec.max_new_tokens)
            texts = adapter.tokenizer.batch_decode(written, skip_special_tokens=True)
            for place, text in zip(prompts.places, texts, strict=True):
                said[place] = text
    except CalibrationDataError as error:
        raise EvaluationDataError(f"evaluation set: {error}") from error
    return said


def _words(text: str | None) -> list[str]:
    return (text or "").casefold().split()
