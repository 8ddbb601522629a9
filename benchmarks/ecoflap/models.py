"""Models and calibration batches for the ECoFLaP benchmark."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
)

from benchmarks.models.llava import build_model, build_processor
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.loading import load_model
from workers.scenes.questions import KINDS
from workers.scenes.samples import samples
from workers.scenes.splits import Split

TRAINED = Path(__file__).parents[1] / "models" / "scenes-llava"
VOCABULARY, QUERIES, WORDS, WIDTH = 1000, 16, 32, 256


def build_blip2(directory: Path) -> None:
    """Random, 208 matrices of three towers: ViT of 16 blocks, T5 of 8 + 8."""
    torch.manual_seed(0)
    vision = Blip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=16,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    bridge = Blip2QFormerConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        encoder_hidden_size=WIDTH,
        vocab_size=VOCABULARY,
    )
    language = T5Config(
        d_model=WIDTH,
        d_kv=WIDTH // 4,
        d_ff=2 * WIDTH,
        num_layers=8,
        num_decoder_layers=8,
        num_heads=4,
        vocab_size=VOCABULARY,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=bridge.to_dict(),
        text_config=language.to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=VOCABULARY - 1,
    )
    Blip2ForConditionalGeneration(config).save_pretrained(directory)


def blip2_batches(_adapter: Adapter, count: int, size: int) -> list[Batch]:
    """Random images, questions and answers."""
    generator = torch.Generator().manual_seed(1)

    def words() -> torch.Tensor:
        return torch.randint(2, VOCABULARY - 1, (size, WORDS), generator=generator)

    image_tokens = torch.full((size, QUERIES), VOCABULARY - 1)
    made = []
    for _ in range(count // size):
        ids = torch.cat([image_tokens, words()], 1)
        pixels = torch.randn(size, 3, 64, 64, generator=generator)
        mask = torch.ones_like(ids)
        made.append(
            {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask, "labels": words()}
        )
    return made


def build_llama(directory: Path) -> None:
    """Random, one tower of 16 blocks, 112 matrices."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=16,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
    )
    LlamaForCausalLM(config).save_pretrained(directory)


def llama_batches(_adapter: Adapter, count: int, size: int) -> list[Batch]:
    """Random tokens."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count // size):
        ids = torch.randint(2, VOCABULARY, (size, 4 * WORDS), generator=generator)
        made.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return made


def build_scenes_llava(directory: Path) -> None:
    """The reference model's shape, untrained."""
    torch.manual_seed(0)
    processor = build_processor()
    build_model(processor).save_pretrained(directory)
    processor.save_pretrained(directory)


def scenes_batches(adapter: Adapter, count: int, size: int) -> list[Batch]:
    """Drawn scenes with a question and its answer."""
    streams = [samples(Split.TRAIN, seed=0, kind=kind) for kind in KINDS]
    rounds = zip(*streams, strict=False)
    drawn = islice((sample for kinds in rounds for sample in kinds), count)
    rows = [CalibrationRecord(text=f"{s.question} {s.answer}", image=s.image) for s in drawn]
    return list(adapter.batches(rows, batch_size=size, max_length=64))


Builder = Callable[[Path], None]
Batches = Callable[[Adapter, int, int], list[Batch]]
MODELS: dict[str, tuple[Builder, Batches]] = {
    "blip2": (build_blip2, blip2_batches),
    "llama": (build_llama, llama_batches),
    "scenes-llava": (build_scenes_llava, scenes_batches),
}


def is_trained(name: str) -> bool:
    """Whether the model is a trained checkpoint and not a random one of its shape."""
    return name == "scenes-llava" and (TRAINED / "model.safetensors").exists()


def prepared(name: str, directory: Path) -> Adapter:
    """The model, built on first use."""
    if is_trained(name):
        return adapt(load_model(TRAINED))
    if not (directory / name).exists():
        MODELS[name][0](directory / name)
    adapter = adapt(load_model(directory / name))
    for tensor in adapter.model.state_dict().values():
        tensor.copy_(tensor.clone())  # files are mapped lazily: bring every page in
    return adapter
