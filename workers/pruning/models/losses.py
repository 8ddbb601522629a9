"""Training losses: what the gradient-based allocations and importances differentiate."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import cross_entropy as _cross_entropy
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss

from app.errors import CalibrationDataError, RecipeError
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.replay import Batch

_MASKED_SHARE = 7  # every seventh token, about BERT's 15 %; fixed so that runs repeat
_TEMPERATURE = 0.05
_NOISE = 0.1  # of an input's standard deviation
_DECIDING = (
    "Classification",
    "ForQuestionAnswering",
    "ForObjectDetection",
    "Segmentation",
    "ForBlockDiffusion",
)
_DECISIONS = ("logits", "question_answering_score", "start_logits", "end_logits")


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
    - image-text dual encoders, bare or under a detector: their own contrastive loss;
    - late interaction (ColPali and its kind): contrastive between texts and pages (Faysse et al.,
      ICLR 2025, arXiv 2407.01449, eq. 1 and 2);
    - masked language models: cross-entropy of every seventh token, masked;
    - classifiers, detectors, models that answer out of a fixed list or fill a block: cross-entropy
      against the model's own decision (calibration has no labels);
    - language models, with or without images: next-token cross-entropy over real text tokens;
    - text encoders without a head: contrastive between the halves of each text (the independent
      cropping of Izacard et al., TMLR 2022, arXiv 2112.09118), mean pooling, temperature 0.05;
    - models of actions: their own loss of those in the batch;
    - other encoders of images: features of the image with noise against those without
      (`_under_noise`).

    Raises:
        RecipeError: none of these applies.
        CalibrationDataError: a contrastive loss over a single record, or no text to predict.
    """
    name = type(adapter.model).__name__
    if "labels" in batch:
        return _loss_of(adapter.call(batch))
    if (loss := _contrastive(adapter, batch)) is not None:
        return loss
    bare, sees = name.endswith("Model"), bool(_seen(batch))
    for applies, loss_of in (
        (name.endswith("ForMaskedLM"), _masked),
        (name.endswith(_DECIDING), _own_decision),
        ("labels" in adapter.accepted and adapter.model.can_generate(), _next_token),
        (bare and not sees and "input_ids" in adapter.accepted, _halves_contrastive),
        (sees and (bare or name.endswith("ImageModeling")), _under_noise),
        ("actions" in batch, _own_loss),
    ):
        if applies:
            return loss_of(adapter, batch)
    raise RecipeError(
        f"{name} has no training loss here; choose an allocation and an importance that need no "
        "gradient."
    )


def next_token_labels(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Labels of next-token prediction: the input, padding and image placeholders ignored."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED_LABEL)
    mark = getattr(model.config, "image_token_id", None)
    return labels if mark is None else labels.where(labels != mark, IGNORED_LABEL)


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
    return (_cross_entropy(logits, target) + _cross_entropy(logits.T, target)) / 2


def _masked(adapter: Trainable, batch: Batch) -> Tensor:
    mask_id = adapter.tokenizer.mask_token_id
    if mask_id is None:
        raise RecipeError("The tokenizer has no mask token, so there is no masked-language loss.")
    real = batch["attention_mask"].bool()
    chosen = (torch.arange(real.shape[1], device=real.device) % _MASKED_SHARE == 1) & real
    labels = batch["input_ids"].where(chosen, IGNORED_LABEL)
    masked = batch["input_ids"].where(~chosen, mask_id)
    return _loss_of(adapter.call({**batch, "input_ids": masked}, labels=labels))


def _next_token(adapter: Trainable, batch: Batch) -> Tensor:
    labels = next_token_labels(adapter.model, batch)
    predicted = labels[:, 1:] != IGNORED_LABEL
    if not predicted.any():
        raise CalibrationDataError(
            "The records of a batch leave no text to predict: raise max_length, or give longer "
            "texts."
        )
    if not _can_keep_few_logits(adapter):
        return _loss_of(adapter.call(batch, labels=labels))
    places = predicted.any(0).nonzero().flatten()
    with _predicting_at(adapter.model, places):
        return _loss_of(adapter.call(batch, labels=labels, logits_to_keep=places))


def _can_keep_few_logits(adapter: Trainable) -> bool:
    """Whether the model makes logits where it is told to, and leaves the loss to transformers."""
    model = adapter.model
    names = inspect.unwrap(type(model).forward).__code__.co_names
    return (
        "logits_to_keep" in adapter.accepted
        and "loss_function" in names
        and model.loss_function is ForCausalLMLoss
    )


@contextmanager
def _predicting_at(model: PreTrainedModel, places: Tensor) -> Iterator[None]:
    """The loss is that of predictions at these places; there are no logits of others."""
    before = model.loss_function

    def loss(logits: Tensor, labels: Tensor, *args: Any, **kwargs: Any) -> Any:
        if logits.shape[1] == len(places):
            kwargs["shift_labels"] = labels[:, places + 1].contiguous()
        return before(logits, labels, *args, **kwargs)

    model.loss_function = loss
    try:
        yield
    finally:
        model.loss_function = before


def _contrastive(adapter: Trainable, batch: Batch) -> Tensor | None:
    """Of models that are trained to match images and texts; None for others."""
    name = type(adapter.model).__name__
    base = getattr(adapter.model, adapter.model.base_model_prefix, None)
    if "return_loss" in adapter.accepted:
        needs_pairs(batch)
        return _loss_of(adapter.call(batch, return_loss=True))
    if isinstance(base, PreTrainedModel):
        accepted = inspect.signature(base.forward).parameters
        if "return_loss" in accepted:  # a detector finds its queries by what its base compares
            needs_pairs(batch)
            inputs = {key: value for key, value in batch.items() if key in accepted}
            return _loss_of(base(**inputs, return_loss=True))
    if name.endswith(("ForRetrieval", "ForImageTextRetrieval", "ForImageAndTextRetrieval")):
        needs_pairs(batch)
        output = adapter.call(batch)
        if isinstance(getattr(output, "embeddings", None), Tensor):
            return _late_interaction(adapter, batch, output.embeddings)
        scores = _tensor_of(
            output, "logits_per_image" if "logits_per_image" in output else "logits"
        )
        if scores.shape == (len(scores), len(scores)):
            target = torch.arange(len(scores), device=scores.device)
            rows, columns = scores.float(), scores.float().T
            return (_cross_entropy(rows, target) + _cross_entropy(columns, target)) / 2
        # Scores of pairs: whether image and text match, which they do here.
        return _cross_entropy(scores.float(), torch.ones_like(scores[:, 0], dtype=torch.long))
    return None


def _late_interaction(adapter: Trainable, batch: Batch, pages: Tensor) -> Tensor:
    """Every text against every page: per token of the text the nearest token of the page, summed.

    The text alone is the query; places of the image are left out of it.
    """
    words = batch["attention_mask"].bool()
    for config in (adapter.model.config, getattr(adapter.model.config, "vlm_config", None)):
        if isinstance(mark := getattr(config, "image_token_id", None), int):
            words = words & (batch["input_ids"] != mark)
    text = {"input_ids": batch["input_ids"], "attention_mask": words.long()}
    queries = _tensor_of(adapter.call(text), "embeddings").float()
    near = torch.einsum("qtd,psd->qpts", queries, pages.float())
    near = near.masked_fill(~batch["attention_mask"].bool()[None, :, None], -torch.inf)
    scores = (near.amax(-1) * words[:, None]).sum(-1)
    return _cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def _own_decision(adapter: Trainable, batch: Batch) -> Tensor:
    output = adapter.call(batch)
    losses = []
    for name in _DECISIONS:
        if isinstance(scores := getattr(output, name, None), Tensor):
            rows = scores.float().flatten(0, -2)
            losses.append(_cross_entropy(rows, rows.detach().argmax(-1)))
    if not losses:
        _tensor_of(output, _DECISIONS[0])
    return torch.stack(losses).mean()


def _seen(batch: Batch) -> list[str]:
    """Entries that noise can be added to: pixels and the like."""
    return [key for key, value in batch.items() if value.is_floating_point()]


def _under_noise(adapter: Trainable, batch: Batch) -> Tensor:
    """Mean squared difference of all features, in units of their variance, made by a little noise.

    The dense features of the same model are the target; without noise they would be met exactly,
    and no weight would matter.
    """
    with torch.no_grad():
        targets = _features(adapter.call(batch))
    draws = torch.Generator().manual_seed(0)
    noisy = dict(batch)
    for key in _seen(batch):
        noise = torch.randn(batch[key].shape, generator=draws).to(batch[key])
        noisy[key] = batch[key] + _NOISE * batch[key].std() * noise
    found = _features(adapter.call(noisy))
    if not targets or found.keys() != targets.keys():
        raise RecipeError(
            f"{type(adapter.model).__name__} gives no features to compare; choose an allocation "
            "and an importance that need no gradient"
        )
    losses = [
        (found[key].float() - target.float()).square().mean() / target.float().var().clamp(min=1e-6)
        for key, target in targets.items()
    ]
    return torch.stack(losses).mean()


def _features(output: Any) -> dict[str, Tensor]:
    """Everything a model gives for every record, but scores of what it drew itself."""
    return {
        key: value
        for key, value in output.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
    }


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


def _own_loss(adapter: Trainable, batch: Batch) -> Tensor:
    return _loss_of(adapter.call(batch))


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
