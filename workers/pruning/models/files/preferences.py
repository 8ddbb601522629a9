"""What a checkpoint prefers beside what it is: put aside, so that it never changes what we compute.

`config.json` may ask for other outputs, another attention kernel, chunks or another dtype, and
`generation_config.json` for sampling, beams or penalties. The files that leave with the result keep
all of it; the model in memory has none of it.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import GenerationConfig

from workers.pruning.models.files.checkpoint import read_json

_PREFERENCES = frozenset(
    {
        *("return_dict", "use_return_dict", "torchscript"),
        *("output_attentions", "output_hidden_states", "output_router_logits"),
        *("use_cache", "chunk_size_feed_forward", "gradient_checkpointing", "pretraining_tp"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("_attn_implementation_autoset", "_flash_attn_2_enabled", "use_flash_attention"),
        *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
        *("dtype", "torch_dtype", "problem_type", "loss_type", "task_specific_params"),
    }
)
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".h5", ".msgpack"}
_KEPT = {"id2label", "label2id"}  # their keys are the user's own words
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@contextmanager
def plain_directory(directory: Path) -> Iterator[Path]:
    """A directory like the checkpoint's, for transformers to read.

    It links to the files, weights excepted; its `config.json` has no preferences.

    Raises:
        ModelLoadError: config.json is missing or broken.
    """
    plain = without_preferences(read_json(directory, "config.json"))
    with TemporaryDirectory(prefix="secateur-config-") as scratch:
        for path in directory.iterdir():
            if path.suffix not in _WEIGHTS and path.name != "config.json":
                (Path(scratch) / path.name).symlink_to(path.resolve())
        (Path(scratch) / "config.json").write_text(json.dumps(plain), encoding="utf-8")
        yield Path(scratch)


def without_preferences(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration and all its parts without what is a mere preference."""
    return {
        key: without_preferences(value) if isinstance(value, dict) and key not in _KEPT else value
        for key, value in config.items()
        if key not in _PREFERENCES
    }


def generate_plainly(model: Any, directory: Path, unsaid: Collection[int]) -> None:
    """Let a model generate greedily; the checkpoint decides the ids of special tokens alone.

    Args:
        model: any; one that does not generate stays as it is.
        directory: of the checkpoint.
        unsaid: tokens that no answer may have: the places of images.

    Raises:
        ModelLoadError: generation_config.json is broken.
    """
    saved: dict[str, Any] = {}
    if (directory / "generation_config.json").exists():
        saved = read_json(directory, "generation_config.json")
    writers = [model, getattr(model, "language_model", None)] if model.can_generate() else []
    for writer in writers:
        if isinstance(known := getattr(writer, "generation_config", None), GenerationConfig):
            writer.generation_config = _plain(known, saved if writer is model else {}, unsaid)


def _plain(known: Any, saved: dict[str, Any], unsaid: Collection[int]) -> GenerationConfig:
    ids = {name: getattr(known, name, None) for name in _IDS}
    ids |= {name: saved[name] for name in _IDS if _is_ids(saved.get(name))}
    kept = {name: value for name, value in ids.items() if value is not None}
    settings: Any = GenerationConfig  # it carries no annotations
    plain: GenerationConfig = settings(**kept, suppress_tokens=sorted(unsaid) or None)
    return plain


def _is_ids(value: Any) -> bool:
    ids = value if isinstance(value, list) else [value]
    return bool(ids) and all(type(each) is int for each in ids)
