"""BLIP: a vision tower read by the cross-attention of its text towers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec
from workers.pruning.models.inputs import inputs
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.losses import needs_pairs, symmetric_contrastive

_VISION = TowerSpec("vision_model.encoder.layers", Modality.VISION)
_TEMPERATURE = 0.07  # BLIP's initial value; the checkpoint does not carry the learned one


class BlipCaptioningAdapter(Adapter):
    """Captions: next-token loss of the text decoder."""

    architectures = ("BlipForConditionalGeneration",)
    tower_specs = (
        _VISION,
        TowerSpec("text_decoder.bert.encoder.layer", Modality.TEXT, mask="attention_mask"),
    )


class BlipAnsweringAdapter(Adapter):
    """Visual questions: what follows the last question mark is the answer."""

    architectures = ("BlipForQuestionAnswering",)
    tower_specs = (
        _VISION,
        TowerSpec("text_encoder.encoder.layer", Modality.TEXT, mask="attention_mask"),
        TowerSpec(
            "text_decoder.bert.encoder.layer",
            Modality.TEXT,
            mask="decoder_attention_mask",
            source_mask="attention_mask",
        ),
    )

    def encode(self, record: CalibrationRecord, max_length: int) -> inputs.Sample:
        """Question for the encoder, answer for the decoder (which shifts labels itself)."""
        question, answer = self.split(inputs.text_of(record))
        image = inputs.image_of(record)
        sample = self.encode_pair(question, image, max_length)
        target = inputs.encode_target(self.tokenizer, answer, max_length)
        return sample | target | {"decoder_input_ids": target["labels"]}

    def split(self, text: str) -> tuple[str, str]:
        """Question and answer; halves where there is no question mark."""
        question, mark, answer = text.rpartition("?")
        if mark and answer.strip():
            return question + mark, answer.strip()
        return inputs.halves(text)


class BlipRetrievalAdapter(Adapter):
    """Retrieval: texts are read once with and once without the image."""

    architectures = ("BlipForImageTextRetrieval",)
    tower_specs = (
        _VISION,
        TowerSpec("text_encoder.encoder.layer", Modality.TEXT, mask="attention_mask", passes=2),
        TowerSpec("vision_proj", Modality.BRIDGE),
        TowerSpec("text_proj", Modality.BRIDGE),
    )

    def forward(self, batch: Batch) -> Any:
        """Matching (cross-attention) and contrast (text alone) on one run of the vision tower."""
        image = self._image(batch)
        return self._matching(batch, image), self._contrast(batch, image)

    def loss(self, batch: Batch) -> Tensor:
        """Image-text contrast + matching (Li et al., ICML 2022, section 3.2).

        Negatives of the matching loss are the batch's images moved on by one; BLIP mines hard
        ones and learns the temperature.
        """
        needs_pairs(batch)
        image = self._image(batch)
        contrast = symmetric_contrastive(*self._contrast(batch, image), _TEMPERATURE)
        pairs = [self._matching(batch, image), self._matching(batch, image.roll(1, 0))]
        target = torch.tensor([1, 0], device=image.device).repeat_interleave(len(image))
        return contrast + functional.cross_entropy(torch.cat(pairs), target)

    def _module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def _image(self, batch: Batch) -> Tensor:
        states: Tensor = self._module("vision_model")(batch["pixel_values"]).last_hidden_state
        return states

    def _read(self, batch: Batch, **encoder: Tensor) -> Tensor:
        text = {key: batch[key] for key in ("input_ids", "attention_mask")}
        states: Tensor = self._module("text_encoder")(**text, **encoder).last_hidden_state
        return states[:, 0]

    def _matching(self, batch: Batch, image: Tensor) -> Tensor:
        scores: Tensor = self._module("itm_head")(self._read(batch, encoder_hidden_states=image))
        return scores

    def _contrast(self, batch: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
        project_image, project_text = self._module("vision_proj"), self._module("text_proj")
        return project_image(image[:, 0]), project_text(self._read(batch))
