"""Tiny random models of six decoder layers, prompts made by hand, and a masked reference."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers as tf
from torch import Tensor

from tests.families import BY_NAME
from tests.tiny_models import DECODER, VISION_CONFIG
from workers.pruning.routing import runtime

DROPPING = ("llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm")
FAMILIES = (*DROPPING, "instructblip")
NEWER = ("internvl", "llava_onevision", "mistral3")  # in the tests that say what they compute
LAYERS = 6
Inputs = dict[str, Tensor]


def _newer(name: str) -> Any:
    """The configuration of a family that has no row in the matrix."""
    image = {"image_size": 32, "patch_size": 8}
    if name == "internvl":
        vision = tf.InternVLVisionConfig(
            **VISION_CONFIG | {"image_size": [32, 32], "patch_size": [8, 8]}
        )
        made = tf.InternVLConfig(
            vision_config=vision, text_config=tf.Qwen2Config(**DECODER), image_token_id=15
        )
    elif name == "mistral3":
        made = tf.Mistral3Config(
            vision_config=tf.PixtralVisionConfig(**VISION_CONFIG | image | {"head_dim": 8}),
            text_config=tf.MistralConfig(**DECODER, sliding_window=None),
            image_token_index=15,
        )
    else:
        made = tf.LlavaOnevisionConfig(
            vision_config=tf.SiglipVisionConfig(**VISION_CONFIG | image, vision_use_head=False),
            text_config=tf.Qwen2Config(**DECODER),
            image_grid_pinpoints=[[32, 32]],
            image_token_index=15,
            video_token_index=16,
        )
    made.architectures = [_CLASSES[name]]
    return made


# Pixels of one image, and its height and width.
_SIZED = {
    "llava_next": ((3, 3, 16, 16), (32, 16)),
    "llava_onevision": ((2, 3, 32, 32), (32, 32)),
    "mistral3": ((3, 32, 32), (32, 32)),
}
_CLASSES = {
    "internvl": "InternVLForConditionalGeneration",
    "llava_onevision": "LlavaOnevisionForConditionalGeneration",
    "mistral3": "Mistral3ForConditionalGeneration",
}


@cache
def model_of(name: str) -> Any:
    """A model of the family; tests leave it as they found it."""
    if name in NEWER:
        config = _newer(name)
    else:
        with TemporaryDirectory() as directory:
            BY_NAME[name].build(Path(directory))
            config = tf.AutoConfig.from_pretrained(directory)
    text = config.get_text_config()
    text.num_hidden_layers = LAYERS
    text.max_position_embeddings = 256
    if getattr(text, "layer_types", None):
        text.layer_types = ["full_attention"] * LAYERS
    if name in {"llava", "idefics3", "smolvlm"}:
        config.vision_config.image_size = 32
    torch.manual_seed(0)
    model = getattr(tf, config.architectures[0])(config).eval()
    for parameter in model.parameters():  # louder than at initialisation, so that layers matter
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    settings = getattr(model, "language_model", model).generation_config
    settings.eos_token_id, settings.pad_token_id = None, 0
    settings.suppress_tokens = never_said(model)
    return model


def never_said(model: Any) -> list[int]:
    """Image tokens: an uncached forward takes a generated one for a place of an image."""
    return list(runtime.anatomy(model).vision_ids)


def pixels(name: str, images: int, generator: torch.Generator) -> Inputs:
    """What the image processor would return for that many images."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    if name in {"llava", "internvl"}:
        return {"pixel_values": noise(images, 3, 32, 32)}
    if name in _SIZED:
        shape, size = _SIZED[name]
        sizes = torch.tensor([size]).expand(images, -1)
        return {"pixel_values": noise(images, *shape), "image_sizes": sizes}
    if name.startswith("qwen"):
        grid = torch.tensor([[1, 8, 8]]).expand(images, -1)
        return {"pixel_values": noise(64 * images, 96), "image_grid_thw": grid}
    if name == "instructblip":
        ids = torch.randint(5, 60, (images, 4), generator=generator)
        return {"pixel_values": noise(images, 3, 16, 16), "qformer_input_ids": ids}
    return {"pixel_values": noise(1, images, 3, 32, 32)}


def prompts(
    name: str,
    texts: Sequence[tuple[int, ...]] = ((3, 5), (3, 9)),
    *,
    side: str = "left",
    seed: int = 0,
) -> Inputs:
    """A padded batch; a row (a, b, c) is a words, an image, b words, an image, c words."""
    model, generator = model_of(name), torch.Generator().manual_seed(seed)
    counts = [len(text) - 1 for text in texts]
    made = pixels(name, sum(counts), generator)
    with torch.no_grad():
        feature = model.get_image_features(**made).pooler_output
    feature = feature[0].split(len(feature[0]) // sum(counts)) if len(feature) == 1 else feature
    sizes = iter(len(part) for part in feature)
    image = runtime.anatomy(model).vision_ids[0]
    rows = []
    for text in texts:
        row: list[int] = []
        for index, words in enumerate(text):
            row += [image] * next(sizes) if index else []
            row += torch.randint(20, 60, (words,), generator=generator).tolist()
        rows.append(row)
    length = max(map(len, rows))
    gap = {"left": lambda row, pad: pad + row, "right": lambda row, pad: row + pad}[side]
    ids = torch.tensor([gap(row, [0] * (length - len(row))) for row in rows])
    made |= {"input_ids": ids, "attention_mask": (ids != 0).long()}
    if name.startswith("qwen"):
        made["mm_token_type_ids"] = (ids == image).int()
    if name in {"idefics3", "smolvlm"}:
        most = max(counts)
        stacked = made["pixel_values"].new_zeros(len(rows), most, 3, 32, 32)
        taken = iter(made["pixel_values"][0])
        for row, count in enumerate(counts):
            for index in range(count):
                stacked[row, index] = next(taken)
        made["pixel_values"] = stacked
    return made


def fixed(
    share: float = 0.5, layers: tuple[int, ...] = (0, 1, 2, 3, 5), seed: int = 0
) -> runtime.DecideFn:
    """Keeps a share of each row's image tokens that depends on what the row holds."""

    def decide(embeddings: Tensor, segments: Tensor) -> runtime.Decision:
        scores = (embeddings.double().sum(-1) * 997 + seed).sin()
        counts = (segments == runtime.VISION).sum(1)
        decision = runtime.decide(
            runtime.Scores(scores, torch.zeros(len(segments), LAYERS)),
            segments,
            tokens=runtime.token_budget(counts, share),
            layers=LAYERS,
            coverage_floor=0,
        )
        return runtime.Decision(decision.keep, layers)

    return decide


class Recorder:
    """A decide function that remembers what it was asked and what it said."""

    def __init__(self, decide: runtime.DecideFn) -> None:
        self._decide = decide
        self.calls: list[tuple[Tensor, Tensor, runtime.Decision]] = []

    def __call__(self, embeddings: Tensor, segments: Tensor) -> runtime.Decision:
        decision = self._decide(embeddings, segments)
        self.calls.append((embeddings, segments, decision))
        return decision

    def left(self) -> Tensor:
        """(B, S) of the last call: neither dropped nor padding."""
        _, segments, decision = self.calls[-1]
        left = segments == runtime.TEXT
        if decision.keep is None:
            return left | (segments == runtime.VISION)
        for row, keep in enumerate(decision.keep):
            left[row, keep[keep >= 0]] = True
        return left


@contextmanager
def masked(
    model: Any, left: Tensor, layers: tuple[int, ...], drop_layer: int = 2
) -> Iterator[None]:
    """The release's way: every layer sees every position, dropped ones are hidden as keys.

    Args:
        model: run it without a cache.
        left: (B, S) prompt positions neither dropped nor padding; all after them are text.
        layers: whose output is used.
        drop_layer: dropped positions are hidden from here on.
    """
    subject = runtime.anatomy(model)

    def hide(index: int) -> Callable[..., Any]:
        def hook(_: Any, args: Any, kwargs: Any) -> Any:
            length = args[0].shape[1]
            eye = torch.eye(length, dtype=torch.bool)
            seen = torch.ones(len(left), length, dtype=torch.bool)
            if index >= drop_layer:
                seen[:, : left.shape[1]] = left
            elif kwargs["attention_mask"] is not None:
                seen = kwargs["attention_mask"][:, 0, -1]
            causal = torch.ones(length, length, dtype=torch.bool).tril()
            return args, {**kwargs, "attention_mask": (causal & seen[:, None] | eye)[:, None]}

        return hook

    handles = []
    for index, layer in enumerate(subject.layers):
        handles.append(layer.register_forward_pre_hook(hide(index), with_kwargs=True))
        if index not in layers:
            handles.append(layer.register_forward_hook(lambda _, args, out: args[0]))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
