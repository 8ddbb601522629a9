"""Trains a job's pruned model towards the dense one, where the recipe asks for the whole model."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.recipes.pruning_report import ModelRecovery, PruningReport
from app.recipes.recovery import Recovery
from workers.pipeline.context import RunContext
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import Record
from workers.pipeline.data.source import Dataset
from workers.pipeline.stages import record_errors_of
from workers.pruning.calibration.outputs import Known, Lesson, learn_by_heart, lessons_of
from workers.pruning.engine.prune import evaluating
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.replay import Batch
from workers.pruning.recovery.model import recover_model
from workers.pruning.resume import Checkpoints
from workers.pruning.routing.answers import answer

ANSWER_TOKENS = 32
OTHER_TOKENS = 64  # of a prompt


class Teacher:
    """What the dense model said, and the pruned model is to learn."""

    def __init__(
        self,
        context: RunContext,
        adapter: Adapter,
        data: Mapping[Purpose, Dataset],
        batches: Sequence[Batch],
    ) -> None:
        """Let the dense model answer.

        Args:
            context: of the run.
            adapter: of the dense model.
            data: the records of the job.
            batches: calibration inputs.

        Raises:
            UserError: the model gives nothing to train towards, or a record cannot be given to it.
        """
        self._context = context
        self._data = data
        with record_errors_of(context, adapter, data), evaluating(adapter.model):
            lessons = self._answers(adapter) or lessons_of(adapter, batches)
            self._known: list[Known] = []
            for lesson in lessons:
                context.report.check()
                self._known += learn_by_heart(adapter, [lesson])

    def teach(
        self,
        adapter: Adapter,
        settings: Recovery,
        pruned: PruningReport,
        checkpoints: Checkpoints,
    ) -> PruningReport:
        """Train what is left of the matrices that were pruned; of all where structure went alone.

        Args:
            adapter: of the pruned model.
            settings: of the recipe.
            pruned: the report so far.
            checkpoints: what an earlier attempt has finished.
        """
        report = self._context.report
        report.phase(Phase.TRAINING)
        names = {each.module for each in pruned.matrices}
        matrices = [m for m in adapter.matrices if not names or m.name in names]
        with record_errors_of(self._context, adapter, self._data), evaluating(adapter.model):
            found = recover_model(
                *(adapter, self._known, matrices, settings),
                tick=report.check,
                checkpoints=checkpoints,
            )
        if found is None:
            told = (
                "the model was not trained: it takes two calibration batches, one of them held "
                "out, and a linear layer that is no expert's"
            )
            return pruned.model_copy(update={"warnings": (*pruned.warnings, told)})
        text = f"distance from the dense model {found.before:.4g} -> {found.after:.4g}"
        report.event(NewEvent(EventType.LOG, text, EventLevel.INFO))
        recovered = ModelRecovery(before=found.before, after=found.after, rate=found.rate)
        return pruned.model_copy(update={"recovery": recovered})

    def _answers(self, adapter: Adapter) -> list[Lesson]:
        """Prompts followed by what the dense model writes; none where a record has no prompt."""
        spec = self._context.spec.calibration
        records = self._data[Purpose.CALIBRATION].records
        writes = adapter.model.can_generate() and not adapter.model.config.is_encoder_decoder
        if spec is None or not writes or any(record.prompt is None for record in records):
            return []
        return answered(
            *(adapter, records, spec.batch_size, spec.max_length), tick=self._context.report.check
        )


def answered(
    adapter: Adapter,
    records: Sequence[Record],
    batch_size: int,
    max_length: int,
    tick: Callable[[], None] = lambda: None,
) -> list[Lesson]:
    """Every prompt followed by what the model writes; its tokens count, and some of the prompt's.

    Args:
        adapter: of a model that writes.
        records: with prompts.
        batch_size: most records a batch; those of one length are together.
        max_length: tokens a prompt is cut to.
        tick: told of every batch.

    Raises:
        CalibrationDataError: a record cannot be given to this model.
    """
    lessons = []
    for each in answer(
        adapter,
        [record.question for record in records],
        batch_size=batch_size,
        max_length=max_length,
        answer_tokens=ANSWER_TOKENS,
    ):
        tick()
        counted = torch.zeros_like(each.inputs["input_ids"], dtype=torch.bool)
        # A token is predicted at the one before it.
        counted[:, each.length - 1 : -1] = each.answers != IGNORED_LABEL
        lessons.append(Lesson(each.inputs, counted | spread(each.inputs["attention_mask"])))
    return lessons


def spread(real: Tensor) -> Tensor:
    """At most `OTHER_TOKENS` of each record's real tokens, the last column's left out.

    What is said of an answer alone is little to learn from; what is predicted at every token of a
    long prompt would be much to keep.

    Args:
        real: (B, T), 1 where a token is no padding.

    Returns:
        (B, T) bool, evenly spread over a record's tokens.
    """
    real = real.bool().clone()
    real[:, -1] = False
    number = real.cumsum(1)
    count = number[:, -1:].clamp(min=1)
    taken = count.clamp(max=OTHER_TOKENS)
    return real & (number * taken // count > (number - 1) * taken // count)
