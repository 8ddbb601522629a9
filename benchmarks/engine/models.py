"""Random models and calibration inputs for the engine's benchmark."""

from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from workers.pruning.models.adapter import Adapter

SAMPLES, LENGTH, BATCH, VOCABULARY = 8, 256, 1, 1024
IMAGE_TOKEN, PATCHES = VOCABULARY - 1, 64


def build_llama(directory: Path, dtype: torch.dtype = torch.float32) -> None:
    """56.6 M prunable weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=12,
        num_key_value_heads=12,
        vocab_size=VOCABULARY,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(directory)


def build_llava(directory: Path) -> None:
    """A small LLaVA: 2 + 3 blocks, 64 image tokens."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    text = LlamaConfig(
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN)
    LlavaForConditionalGeneration(config).save_pretrained(directory)


def token_ids(samples: int) -> torch.Tensor:
    """Random tokens, (samples, LENGTH)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, VOCABULARY - 1, (samples, LENGTH), generator=generator)


def batches(adapter: Adapter, samples: int) -> list[dict[str, torch.Tensor]]:
    """Calibration inputs: tokens, and an image in front of them where the model sees."""
    made = []
    for ids in torch.split(token_ids(samples), BATCH):
        batch = {"input_ids": ids.clone(), "attention_mask": torch.ones_like(ids)}
        if "pixel_values" in adapter.accepted:
            batch["input_ids"][:, :PATCHES] = IMAGE_TOKEN
            batch["pixel_values"] = torch.rand(len(ids), 3, 64, 64)
        made.append(batch)
    return made
