"""Images and texts in one space: what retrieval and zero-shot classification compare."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.records import CalibrationRecord


def embed_pairs(
    subject: Subject, records: Sequence[CalibrationRecord] | None = None
) -> tuple[Tensor, Tensor]:
    """Normalised embeddings of the images and of the texts, each (records, features), float32."""
    images, texts = [], []
    for batch in subject.batches(records):
        output = subject.adapter.forward(batch)
        # BLIP's retrieval head answers (matching scores, (images, texts)).
        image, text = (
            output[1] if isinstance(output, tuple) else (output.image_embeds, output.text_embeds)
        )
        images.append(functional.normalize(image.float(), dim=-1).cpu())
        texts.append(functional.normalize(text.float(), dim=-1).cpu())
    return torch.cat(images), torch.cat(texts)
