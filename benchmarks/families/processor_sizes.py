"""What single types of models need so that processor and tiny model agree; see `processors`."""

from typing import Any

SIDE, PATCH = 32, 8  # of images and patches, in pixels

# Checkpoints of these types name a processor of another type in their files.
PROCESSORS = {
    "cosmos3_omni": "Qwen3VLProcessor",
    "fast_vlm": "LlavaProcessor",
    "glm_ocr": "Glm46VProcessor",
    "glmga": "Glm46VProcessor",
    "mistral4": "PixtralProcessor",
    "kosmos-2": "Kosmos2Processor",
    "kosmos-2.5": "Kosmos2_5Processor",
    "qwen2_5_omni_thinker": "Qwen2_5OmniProcessor",
    "qwen3_omni_moe_thinker": "Qwen3OmniMoeProcessor",
    "vision-encoder-decoder": "TrOCRProcessor",
}
IMAGE_PROCESSORS = {
    "diffusion_gemma": "gemma4",
    "fast_vlm": "clip",
    "glm4v_moe": "glm4v",
    "glm_ocr": "glm46v",
    "instructblipvideo": "instructblip",
    "mistral4": "mistral3",
    "qwen2_5_omni_thinker": "qwen2_vl",
    "qwen3_omni_moe_thinker": "qwen2_vl",
    "qwen3_vl_moe": "qwen3_vl",
    "vision-encoder-decoder": "vit",
}
TIMM = {"fast_vlm", "gemma3n"}  # their vision towers are timm's
TEXT_ALONE = {"diffusion_gemma", "mistral4"}  # transformers' classes take no pixels
# The token of an image, where the processor goes by another one.
FIRST = {
    "aya_vision": "<|IMG_PATCH|>",
    "ovis2": "<IMG_ATOM>",
    "pp_chart2table": "<imgpad>",
    **dict.fromkeys(("gemma3", "shieldgemma2", "t5gemma2"), "<image_token>"),
}
PATCHES = {"deepseek_ocr2": 16}
PLACES = {"llava_onevision": 16, "kosmos-2.5": 4}  # of a tile; of a resampler
# What a chat template writes for an image.
TEMPLATES = {"pp_chart2table": "<img>" + "<imgpad>" * 256 + "</img>", "qianfan_ocr": "<image>"}
TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}"
    "{{ '{mark}' if c.type == 'image' else c.text }}{% endfor %}{% endfor %}"
)
CHANGES_OF_TYPES: dict[str, dict[str, Any]] = {
    "aria": {
        "projector_patch_to_query_dict": {196: 4},
        "vision_config.image_size": 980,
        "vision_config.patch_size": 70,
    },
    "deepseek_ocr2": {
        "vision_config.sam_config.image_size": 1024,
        "vision_config.sam_config.patch_size": 16,
    },
    "emu3": {"vq_config.channel_multiplier": [1, 1, 1, 2], "vq_config.attn_resolutions": [3]},
    "gemma4": {"vision_config.position_embedding_size": 256},
    "got_ocr2": {"vision_config.image_size": 512},
    "kosmos-2": {"latent_query_num": 64},
    "kosmos-2.5": {"latent_query_num": 4, "vision_config.patch_embed_hidden_size": 192},
    "pp_chart2table": {"vision_config.image_size": 512},
}
# What stands in the files of a checkpoint and in no class.
SAID: dict[str, Any] = {
    "video_llava": {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
}
TOLD: dict[str, dict[str, Any]] = {
    "deepseek_ocr2": {"size": {"height": 1024, "width": 1024}, "tile_size": 768},
    "dots3_note": {"temporal_patch_size": 1},
    "emu3": {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE, "spatial_factor": 8},
}
_AREA = 5000


def _small(usual: Any, side: int) -> Any:
    """A size in the form of the usual one: a number, edges, or areas where these are large."""
    if isinstance(usual, int):
        return side
    edges = {key: value for key, value in dict(usual).items() if value}
    areas = len(edges) > 1 and edges.get("longest_edge", 0) > _AREA
    return dict.fromkeys(edges, side * side if areas else side)


# Field of an image processor -> its size from the usual one and the side of an image (or patch).
SMALL: dict[str, Any] = {
    "size": _small,
    "crop_size": _small,
    "max_image_size": _small,
    "high_res_size": _small,
    "patch_size": _small,
    "image_grid_pinpoints": lambda _, side: [[side, side]],
    "min_pixels": lambda _, side: side * side,
    "max_pixels": lambda _, side: side * side,
    "max_soft_tokens": lambda *_: 70,
    "pooling_kernel_size": lambda *_: 2,
    "max_patches": lambda usual, _: min(usual, 16),
    "tile_size": _small,
    "scale_resolution": _small,
}
