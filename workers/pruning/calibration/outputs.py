"""What a model gives for its calibration inputs, kept, to hold another model's outputs against."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from app.errors import NonFiniteError, RecipeError
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.precision import computing_in_float32, in_float32
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.losses import next_token_labels

_LEAST = -1e4  # log-probabilities are kept in half precision, which has nothing below -65504


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch to learn on.

    Attributes:
        inputs: of the model.
        counted: (B, T) bool, the tokens whose predictions count; None for all that the model gives.
    """

    inputs: Batch
    counted: Tensor | None


@dataclass(frozen=True, slots=True)
class Known:
    """A lesson with what the dense model gave.

    Attributes:
        lesson: see there.
        outputs: by name; log-probabilities (float16) where the name has `logits`.
    """

    lesson: Lesson
    outputs: dict[str, Tensor]


def lessons_of(adapter: Adapter, batches: Iterable[Batch]) -> list[Lesson]:
    """The batches as they are; of language models, every real token of a text counts."""
    found = []
    for batch in batches:
        counted = None
        if "labels" in batch:
            counted = batch["labels"] != IGNORED_LABEL
        elif adapter.model.can_generate() and "input_ids" in batch:
            counted = next_token_labels(adapter.model, batch) != IGNORED_LABEL
        found.append(Lesson(batch, counted))
    return found


@torch.no_grad()
def learn_by_heart(adapter: Adapter, lessons: Sequence[Lesson]) -> list[Known]:
    """What the dense model gives; what is beyond the limit on activations waits on disk.

    Raises:
        RecipeError: it gives nothing that could be compared.
        NonFiniteError: it gives NaN or infinite values.
    """
    memory, known = adapter.memory, []
    with computing_in_float32(adapter.model):
        for lesson in lessons:
            outputs = _outputs(adapter, lesson)
            if not outputs:
                raise RecipeError(
                    f"{type(adapter.model).__name__} gives nothing to train towards; "
                    "give recovery the scope block"
                )
            kept = {}
            for name, value in outputs.items():
                if not bool(torch.isfinite(value).all()):
                    raise NonFiniteError(f"the dense model's {name} are NaN or infinite")
                told = value.clamp(min=_LEAST).half() if "logits" in name else value
                kept[name] = memory.keep(told.contiguous())
            known.append(Known(lesson, kept))
    return known


def distance(adapter: Adapter, known: Known) -> Tensor:
    """How far a model is from what was kept, a scalar.

    KL(dense || model) in nats, a mean over the tokens that count or the classes decided on; of
    outputs that are no predictions, the squared distance as a share of the squares.
    """
    parts = []
    for name, found in _outputs(adapter, known.lesson).items():
        wanted = known.outputs[name].to(found.device)
        parts.append((_divergence if "logits" in name else _squared)(wanted, found))
    return torch.stack(parts).mean()


def _outputs(adapter: Adapter, lesson: Lesson) -> dict[str, Tensor]:
    """What counts of a forward: log-probabilities of predictions, and other outputs."""
    inputs = in_float32(lesson.inputs)
    if lesson.counted is None:
        found = adapter.call(inputs)
    else:
        found, counted = adapter.call_at(inputs, lesson.counted)
        if isinstance(logits := getattr(found, "logits", None), Tensor):
            return {"logits": logits[counted].float().log_softmax(-1)}
    real = lesson.inputs.get("attention_mask")
    outputs = {}
    for name, value in found.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1:
            if real is not None and value.shape[:2] == real.shape:
                told = value[real.bool()].float()
            else:
                told = value.float()
            outputs[name] = told.log_softmax(-1) if "logits" in name else told
    return outputs


def _divergence(dense: Tensor, found: Tensor) -> Tensor:
    wanted = dense.float().log_softmax(-1).flatten(0, -2)
    terms = functional.kl_div(found.flatten(0, -2), wanted, reduction="sum", log_target=True)
    return terms / max(1, len(wanted))


def _squared(dense: Tensor, found: Tensor) -> Tensor:
    return (found - dense).square().sum() / dense.square().sum().clamp(min=1e-12)
