"""Training losses: what the gradient-based allocations and importances differentiate."""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from app.errors import CalibrationDataError, RecipeError
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.replay import Batch

_MASKED_SHARE = 7  # every seventh token, about BERT's 15 %; fixed so that runs repeat
_TEMPERATURE = 0.05


class Trainable(Protocol):
    """What a loss needs of an adapter, which is built upon losses and so not imported here."""

    model: PreTrainedModel

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""

    @property
    def accepted(self) -> frozenset[str]:
        """Arguments of the model's forward."""

    def call(self, batch: Batch, **extra: Any) -> Any:
        """Run the model."""


def training_loss(adapter: Trainable, batch: Batch) -> Tensor:
    """The loss the model's class was trained with, labels made from the batch itself.

    - encoder-decoders: cross-entropy of the batch's labels;
    - language models, with or without images: next-token cross-entropy over real text tokens;
    - masked language models: cross-entropy of every seventh token, masked;
    - image-text dual encoders: their own contrastive loss over the batch;
    - classifiers: cross-entropy against the model's own decision (calibration has no labels);
    - text encoders without a head: contrastive between the halves of each text (the independent
      cropping of Izacard et al., TMLR 2022, arXiv 2112.09118), mean pooling, temperature 0.05.

    Raises:
        RecipeError: none of these applies.
        CalibrationDataError: a contrastive loss over a single record, or no text to predict.
    """
    name = type(adapter.model).__name__
    if "labels" in batch:
        return _loss_of(adapter.call(batch))
    if "return_loss" in adapter.accepted:
        needs_pairs(batch)
        return _loss_of(adapter.call(batch, return_loss=True))
    if name.endswith("ForMaskedLM"):
        return _masked(adapter, batch)
    if name.endswith("Classification"):
        return _own_decision(adapter, batch)
    if "labels" in adapter.accepted and adapter.model.can_generate():
        image_token = getattr(adapter.model.config, "image_token_id", None)
        labels = next_token_labels(batch, image_token)
        if not (labels[:, 1:] != IGNORED_LABEL).any():
            raise CalibrationDataError(
                "The records of a batch leave no text to predict: raise max_length, or give longer "
                "texts."
            )
        return _loss_of(adapter.call(batch, labels=labels))
    if "input_ids" in adapter.accepted and name.endswith("Model"):
        return _halves_contrastive(adapter, batch)
    raise RecipeError(
        f"{name} has no training loss here; choose an allocation and an importance that need no "
        "gradient."
    )


def next_token_labels(batch: Batch, image_token_id: int | None = None) -> Tensor:
    """Labels of next-token prediction: the input, padding and image placeholders ignored."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED_LABEL)
    return (
        labels if image_token_id is None else labels.where(labels != image_token_id, IGNORED_LABEL)
    )


def symmetric_contrastive(left: Tensor, right: Tensor, temperature: float | Tensor) -> Tensor:
    """InfoNCE both ways between matching rows (CLIP, Radford et al. 2021, fig. 3).

    Args:
        left: (batch, features).
        right: (batch, features).
        temperature: divides the cosine similarities.
    """
    left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
    logits = left @ right.T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    ) / 2


def _masked(adapter: Trainable, batch: Batch) -> Tensor:
    mask_id = adapter.tokenizer.mask_token_id
    if mask_id is None:
        raise RecipeError("The tokenizer has no mask token, so there is no masked-language loss.")
    real = batch["attention_mask"].bool()
    chosen = (torch.arange(real.shape[1], device=real.device) % _MASKED_SHARE == 1) & real
    labels = batch["input_ids"].where(chosen, IGNORED_LABEL)
    masked = batch["input_ids"].where(~chosen, mask_id)
    return _loss_of(adapter.call({**batch, "input_ids": masked}, labels=labels))


def _own_decision(adapter: Trainable, batch: Batch) -> Tensor:
    logits = _tensor_of(adapter.call(batch), "logits").float().flatten(0, -2)
    return functional.cross_entropy(logits, logits.detach().argmax(-1))


def _halves_contrastive(adapter: Trainable, batch: Batch) -> Tensor:
    needs_pairs(batch)
    mask = batch["attention_mask"].bool()
    position = torch.arange(mask.shape[1], device=mask.device)
    middle = (mask.sum(1, keepdim=True) + 1) // 2
    pooled = []
    for half in (mask & (position < middle), mask & (position >= middle)):
        output = adapter.call({**batch, "attention_mask": half.long()})
        hidden = _tensor_of(output, "last_hidden_state").float()
        weight = half.unsqueeze(-1).float()
        pooled.append((hidden * weight).sum(1) / weight.sum(1).clamp(min=1))
    return symmetric_contrastive(pooled[0], pooled[1], _TEMPERATURE)


def needs_pairs(batch: Batch) -> None:
    """Refuse a batch with nothing to contrast.

    Raises:
        CalibrationDataError: fewer than two records.
    """
    if len(next(iter(batch.values()))) < 2:  # noqa: PLR2004 (a contrast needs two)
        raise CalibrationDataError(
            "A contrastive loss compares the records of a batch; give at least two records."
        )


def _loss_of(output: Any) -> Tensor:
    return _tensor_of(output, "loss")


def _tensor_of(output: Any, name: str) -> Tensor:
    found = getattr(output, name, None)
    if not isinstance(found, Tensor):
        raise RecipeError(
            f"the model gives no {name}; choose an allocation and an importance that need no "
            "gradient"
        )
    return found
