"""What the dense model answers, and how far a pruned one is from it along that answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from app.errors import NonFiniteError
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import IGNORED_LABEL, CalibrationRecord, Sample
from workers.pruning.models.prompts import Prompts, generate, prompt_batches

_GROWS = {"input_ids": None, "attention_mask": 1, "mm_token_type_ids": 0}


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Prompts of one length, each followed by its dense answer.

    Attributes:
        places: of the records.
        inputs: of the model; sequences hold prompt and answer, answers padded behind.
        length: P, tokens of each prompt.
        answers: (B, A) token ids, `IGNORED_LABEL` behind an answer's end.
    """

    places: tuple[int, ...]
    inputs: Sample
    length: int
    answers: Tensor


class Closeness(NamedTuple):
    """Per record, (B,) each.

    Attributes:
        kl: KL(dense || pruned) in nats, mean over the answer's tokens.
        agreement: share of the answer's tokens that the pruned model ranks first.
        exact: whether that is all of them: greedy generation then gives the same answer.
    """

    kl: Tensor
    agreement: Tensor
    exact: Tensor


def answer(
    adapter: Adapter,
    records: Sequence[CalibrationRecord],
    *,
    batch_size: int,
    max_length: int,
    answer_tokens: int,
) -> Iterator[Answered]:
    """Let the dense model answer, greedily; every record comes once, grouped by prompt length.

    Raises:
        CalibrationDataError: a record cannot be given to this model.
    """
    made = prompt_batches(adapter, records, batch_size=batch_size, max_length=max_length)
    for prompts in made:
        yield _answered(adapter, prompts, generate(adapter, prompts, answer_tokens))


def _answered(adapter: Adapter, prompts: Prompts, written: Tensor) -> Answered:
    ids = adapter.model.generation_config.eos_token_id
    ends = torch.tensor([ids] if isinstance(ids, int) else ids or [], device=written.device)
    end = torch.isin(written, ends.long())
    real = end.cumsum(1) - end.long() == 0  # up to and with the first end token
    grown = {
        name: torch.cat([value, _tail(name, written, real).to(value)], dim=1)
        for name, value in prompts.inputs.items()
        if name in _GROWS
    }
    return Answered(
        places=prompts.places,
        inputs={**prompts.inputs, **grown},
        length=prompts.inputs["input_ids"].shape[1],
        answers=written.masked_fill(~real, IGNORED_LABEL),
    )


def _tail(name: str, written: Tensor, real: Tensor) -> Tensor:
    if name == "input_ids":
        return written
    return real if name == "attention_mask" else torch.zeros_like(written)


def log_probs(adapter: Adapter, answered: Answered) -> Tensor:
    """(B, A, V) float32: what the model, pruned or not, predicts for each token of the answers.

    Raises:
        NonFiniteError: the model's outputs are NaN or infinite.
    """
    width = answered.answers.shape[1]
    extra = {"logits_to_keep": width + 1} if "logits_to_keep" in adapter.accepted else {}
    logits: Tensor = adapter.call(answered.inputs, **extra).logits
    found = logits[:, -width - 1 : -1].float().log_softmax(-1)
    if not bool(torch.isfinite(found[answered.answers != IGNORED_LABEL]).all()):
        raise NonFiniteError("the model's outputs are NaN or infinite")
    return found


def closeness(dense: Tensor, pruned: Tensor, answers: Tensor) -> Closeness:
    """Compare two (B, A, V) predictions along the dense answers (B, A)."""
    real = answers != IGNORED_LABEL
    sizes = real.sum(1).clamp(min=1)
    kl = functional.kl_div(pruned, dense, reduction="none", log_target=True).sum(-1).clamp(min=0)
    same = (pruned.argmax(-1) == answers) & real
    return Closeness(
        kl=kl.masked_fill(~real, 0).sum(1) / sizes,
        agreement=same.sum(1) / sizes,
        exact=same.sum(1) == real.sum(1),
    )


def joined(closeness: Iterable[tuple[Sequence[int], Closeness]]) -> Closeness:
    """Batches in the order of their records' places, on the CPU in float64."""
    batches = list(closeness)
    order = torch.tensor([place for places, _ in batches for place in places]).argsort()
    columns = zip(*(near for _, near in batches), strict=True)
    return Closeness(*(torch.cat(column).double().cpu()[order] for column in columns))
