"""Train what is left of a whole model towards the dense model's predictions.

The dense model writes an answer to every prompt, and the pruned model learns what the dense one
predicted for each token of it and for some of the prompt; of texts without a prompt, every token
counts, of a classifier its classes, of other models all that they give for a record. Own design:
distillation along the dense model's own answers (on-policy ones of the teacher; Kim and Rush,
EMNLP 2016, arXiv 1606.07947), zeros held.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from app.errors import NonFiniteError, RecipeError
from app.recipes.recovery import Recovery
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.precision import computing_in_float32, in_float32
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.models.losses import next_token_labels
from workers.pruning.recovery.training import Goal, Recovered, Training
from workers.pruning.recovery.weights import TrainedWeights
from workers.pruning.resume import Checkpoints

RATES = (0.03, 0.01, 0.003)
LOOKS = 10
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
            image_token = getattr(adapter.model.config, "image_token_id", None)
            counted = next_token_labels(batch, image_token) != IGNORED_LABEL
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


def recover_model(
    adapter: Adapter,
    known: Sequence[Known],
    matrices: Sequence[Matrix],
    settings: Recovery,
    *,
    tick: Callable[[], None],
    checkpoints: Checkpoints,
) -> Recovered | None:
    """Train, and store the weights where they are better.

    The distance is KL(dense || pruned) in nats, a mean over the tokens that count or the classes
    decided on; of outputs that are no predictions, the squared distance as a share of the squares.

    Args:
        adapter: of the pruned model.
        known: what the dense model gave.
        matrices: to train.
        settings: of the recipe.
        tick: told of every step.
        checkpoints: what an earlier run with the very same arguments left.

    Returns:
        None where no batch is held out, or no matrix is a linear layer's whole weight.
    """

    def missed(number: int) -> tuple[Tensor, Tensor]:
        each = known[number]
        parts = []
        for name, found in _outputs(adapter, each.lesson).items():
            wanted = each.outputs[name].to(found.device)
            parts.append((_divergence if "logits" in name else _distance)(wanted, found))
        return torch.stack(parts).mean(), parts[0].new_ones(())

    weights = TrainedWeights(adapter.model, matrices)
    goal = Goal(len(known), missed, RATES, LOOKS, tick)
    with computing_in_float32(adapter.model):
        return Training(weights, goal, checkpoints).run(settings)


def _outputs(adapter: Adapter, lesson: Lesson) -> dict[str, Tensor]:
    """What counts of a forward: log-probabilities of predictions, and other outputs."""
    found = adapter.call(in_float32(lesson.inputs))
    logits = getattr(found, "logits", None)
    if lesson.counted is not None and isinstance(logits, Tensor):
        return {"logits": logits[lesson.counted].float().log_softmax(-1)}
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


def _distance(dense: Tensor, found: Tensor) -> Tensor:
    return (found - dense).square().sum() / dense.square().sum().clamp(min=1e-12)
