"""Inputs of single models that the general rules of `inputs` do not make."""

from typing import Any

import torch
from torch import Tensor


def _ones(*shape: int) -> Any:
    return lambda _batch, _generator, _model: torch.ones(*shape, dtype=torch.long)


def _normal(*shape: int) -> Any:
    return lambda _batch, generator, _model: torch.randn(*shape, generator=generator)


def _fixed(values: Any) -> Any:
    return lambda _batch, _generator, _model: torch.tensor(values)


def _at(begin: int, end: int) -> Any:
    def mark(batch: dict[str, Tensor], _generator: Any, _model: Any) -> Tensor:
        mask = torch.zeros_like(batch["input_ids"])
        mask[:, begin:end] = 1
        return mask

    return mark


def _flattened(_batch: dict[str, Tensor], generator: Any, _model: Any) -> Tensor:
    """Patches behind their row and column."""
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).expand(2, 16, 2)
    return torch.cat([places, torch.randn(2, 16, 192, generator=generator)], -1)


def _noise(_batch: dict[str, Tensor], generator: Any, _model: Any) -> Tensor:
    """Decides which patches are hidden."""
    return torch.rand(2, 16, generator=generator)


def _boxes(batch: dict[str, Tensor], _generator: Any, _model: Any) -> Tensor:
    """Words without a place on the page: none takes a patch of the image in."""
    return torch.zeros(*batch["input_ids"].shape, 4)


def _answer(batch: dict[str, Tensor], _generator: Any, _model: Any) -> Tensor:
    return batch["input_ids"][:, -6:].clone()


_PATCHES = {
    "pixel_values": _normal(2, 16, 192),
    "pixel_attention_mask": _ones(2, 16),
    "spatial_shapes": _fixed([[4, 4]] * 2),
}
_GRID = {
    "pixel_values": _normal(2, 16, 192),
    "image_position_ids": lambda *_: (
        torch.cartesian_prod(torch.arange(4), torch.arange(4)).expand(2, 16, 2).clone()
    ),
}
_ROW = {"pixel_values": _normal(1, 3, 8, 256), "target_sizes": _fixed([[4, 4]] * 2)}
_VISUAL = {
    "visual_embeds": _normal(2, 4, 32),
    "visual_attention_mask": _ones(2, 4),
    "visual_token_type_ids": _ones(2, 4),
}
_TILES = {
    "pixel_values": _normal(2, 1, 3, 32, 32),
    "pixel_attention_mask": lambda *_: torch.ones(2, 1, dtype=torch.bool),
}
_QFORMER = {
    "qformer_input_ids": lambda _b, g, _m: torch.randint(64, 192, (2, 6), generator=g),
    "qformer_attention_mask": _ones(2, 6),
}

# Class -> `places` of an image in the text; `hidden`, see `plain.Forward`; `pixels` and `inputs`:
# name -> function of batch, generator and model, or None to take the entry out.
INPUTS: dict[str, dict[str, Any]] = {
    "WhisperForConditionalGeneration": {
        "inputs": {"input_features": _normal(2, 16, 32), "attention_mask": None}
    },
    "Siglip2VisionModel": {"inputs": _PATCHES},
    "Siglip2Model": {"inputs": _PATCHES},
    "LxmertForQuestionAnswering": {
        "inputs": {"visual_feats": _normal(2, 4, 16), "visual_pos": _normal(2, 4, 4)}
    },
    "BlipForQuestionAnswering": {"inputs": {"decoder_input_ids": _answer, "labels": _answer}},
    "VisualBertModel": {"inputs": _VISUAL},
    "VisualBertForQuestionAnswering": {
        "inputs": {
            **_VISUAL,
            "attention_mask": _ones(2, 10),
        }
    },
    "ViTMAEModel": {"inputs": {"noise": _noise}},
    "XCLIPModel": {"inputs": {"pixel_values": _normal(2, 2, 3, 32, 32)}},
    "ColPaliForRetrieval": {"places": 16},
    "ColQwen2ForRetrieval": {
        "places": 4,
        "inputs": {"pixel_values": _normal(2, 16, 3 * 2 * 64)},
    },
    "ColModernVBertForRetrieval": {
        "places": 1,
        "inputs": {"pixel_values": _normal(2, 1, 3, 32, 32)},
    },
    "Blip2ForConditionalGeneration": {"places": 4},
    "InstructBlipForConditionalGeneration": {"places": 4, "inputs": _QFORMER},
    "InstructBlipVideoForConditionalGeneration": {
        "places": 8,
        "inputs": {**_QFORMER, "pixel_values": _normal(2, 2, 3, 32, 32)},
    },
    "DeepseekVLHybridForConditionalGeneration": {
        "pixels": {"high_res_pixel_values": _normal(2, 3, 32, 32)}
    },
    "FuyuForCausalLM": {"places": 16, "inputs": {"pixel_values": _normal(2, 16, 192)}},
    "Idefics2ForConditionalGeneration": {
        "places": 4,
        "inputs": {"pixel_values": _normal(2, 1, 3, 32, 32)},
    },
    "Idefics3ForConditionalGeneration": {
        "places": 4,
        "inputs": {"pixel_values": _normal(2, 1, 3, 32, 32)},
    },
    "SmolVLMForConditionalGeneration": {
        "places": 4,
        "inputs": {"pixel_values": _normal(2, 1, 3, 32, 32)},
    },
    "IdeficsForVisionText2Text": {
        "inputs": {
            "pixel_values": _normal(2, 1, 3, 32, 32),
            "image_attention_mask": lambda b, *_: torch.ones(*b["input_ids"].shape, 1).long(),
        }
    },
    "Lfm2VlForConditionalGeneration": {"places": 4, "inputs": _PATCHES},
    "DiffusionGemmaForBlockDiffusion": {
        "inputs": {
            "decoder_input_ids": lambda _b, g, _m: torch.randint(64, 192, (2, 8), generator=g)
        }
    },
    "Gemma4ForConditionalGeneration": {"pixels": _GRID},
    "Gemma4UnifiedForConditionalGeneration": {
        "pixels": {**_GRID, "pixel_values": _normal(2, 16, 1728)}
    },
    "GraniteDoclingForConditionalGeneration": {"pixels": _TILES},
    "Inkling2ForConditionalGeneration": {"pixels": {"pixel_values": _normal(32, 16, 16, 3)}},
    "Kimi_K25ForConditionalGeneration": {"pixels": {"pixel_values": _normal(32, 3, 8, 8)}},
    "PaddleOCRVLForConditionalGeneration": {"pixels": {"pixel_values": _normal(32, 3, 8, 8)}},
    "Kosmos2ForConditionalGeneration": {
        "places": 4,
        "inputs": {"image_embeds_position_mask": _at(1, 5)},
    },
    "LlavaNextForConditionalGeneration": {"pixels": {"pixel_values": _normal(2, 2, 3, 32, 32)}},
    "LlavaNextVideoForConditionalGeneration": {
        "pixels": {"pixel_values": _normal(2, 2, 3, 32, 32)}
    },
    "LlavaOnevisionForConditionalGeneration": {
        "pixels": {"pixel_values": _normal(2, 2, 3, 32, 32)}
    },
    "Granite4VisionForConditionalGeneration": {
        "places": 10,
        "pixels": {"pixel_values": _normal(2, 2, 3, 32, 32)},
    },
    "NemotronH_Omni_Reasoning_V3": {
        "pixels": {"pixel_values": _normal(32, 192), "image_grid_hw": _fixed([[4, 4]] * 2)}
    },
    "Molmo2ForConditionalGeneration": {
        "pixels": {
            "pixel_values": _normal(2, 16, 192),
            "image_grids": _fixed([[0, 0, 2, 2]] * 2),
            "image_num_crops": _fixed([1, 1]),
            "image_token_pooling": lambda *_: torch.arange(32).view(8, 4),
        }
    },
    "MiniCPMV4_7ForConditionalGeneration": {"pixels": _ROW},
    "MiniCPMV4_6ForConditionalGeneration": {"pixels": _ROW},
    "MiniCPMOcrForConditionalGeneration": {"pixels": _ROW},
    "PI0ForConditionalGeneration": {
        "places": 16,
        "inputs": {
            "state": _normal(2, 32),
            "actions": _normal(2, 50, 32),
            **_TILES,
            "noise": _normal(2, 50, 32),
            "timestep": lambda *_: torch.full((2,), 0.5),
        },
    },
    "LlavaForConditionalGeneration": {"pixels": {"image_sizes": None}},
    "MllamaForConditionalGeneration": {
        "inputs": {
            "pixel_values": _normal(2, 1, 4, 3, 32, 32),
            "aspect_ratio_ids": _ones(2, 1),
            "aspect_ratio_mask": _ones(2, 1, 4),
            "cross_attention_mask": lambda b, *_: torch.ones(*b["input_ids"].shape, 1, 4).long(),
        }
    },
    # The patches that hold words are taken out of the image, which is padded to its length again.
    "UdopForConditionalGeneration": {"inputs": {"bbox": _boxes}, "hidden": 1},
    "Pix2StructForConditionalGeneration": {
        "inputs": {
            "flattened_patches": _flattened,
            "attention_mask": _ones(2, 16),
            "pixel_values": None,
            "input_ids": None,
        }
    },
    "VideoLlama3ForConditionalGeneration": {
        "pixels": {"image_merge_sizes": _fixed([1, 1])},
    },
}
