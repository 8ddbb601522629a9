"""Images and texts in one space: what retrieval and zero-shot classification compare."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from app.recipes.evaluation import MetricNotApplicableError
from workers.pipeline.evaluation.subject import Subject, finite
from workers.pruning.models.inputs.inputs import CalibrationRecord


def embed_pairs(
    subject: Subject, records: Sequence[CalibrationRecord] | None = None
) -> tuple[Tensor, Tensor]:
    """Normalised embeddings of the images and of the texts, each (records, features), float32.

    Raises:
        NonFiniteError: one is NaN or infinite.
    """
    images, texts = [], []
    for batch in subject.batches(records):
        image, text = _embeddings(subject, subject.adapter.forward(batch))
        images.append(functional.normalize(image.float(), dim=-1).cpu())
        texts.append(functional.normalize(text.float(), dim=-1).cpu())
    return finite(torch.cat(images), "embeddings"), finite(torch.cat(texts), "embeddings")


def _embeddings(subject: Subject, output: Any) -> tuple[Tensor, Tensor]:
    if isinstance(output, tuple):  # BLIP's retrieval head: (matching scores, (images, texts))
        pair: tuple[Tensor, Tensor] = output[1]
        return pair
    found = [getattr(output, name, None) for name in ("image_embeds", "text_embeds")]
    image, text = found
    if not isinstance(image, Tensor) or not isinstance(text, Tensor):
        raise MetricNotApplicableError(
            f"{subject.architecture} gives no embeddings of images and texts to compare"
        )
    return image, text
