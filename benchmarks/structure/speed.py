"""How much faster a smaller model is: dense and reduced side by side, in turns, in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers as tf

from app.recipes.modality import Modality
from app.recipes.structure import Depth, Step, Width
from benchmarks.quality.grid import SUBJECTS
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.structure.reduce import reduce

ROUNDS = 5
PROMPT, ANSWER = 512, 64


@dataclass(frozen=True)
class Ratio:
    """Of a reduced model to the dense one.

    Attributes:
        parameters: in blocks.
        all_parameters: embeddings included.
        loaded: bytes of all parameters once `from_pretrained` has loaded them.
        times: median over rounds of the time of each kind of run.
    """

    parameters: float
    all_parameters: float
    loaded: float
    times: dict[str, float]


def llama(directory: Path) -> None:
    """The language model of a random LLaVA of 16 layers."""
    config = tf.LlamaConfig(
        vocab_size=2048,
        hidden_size=768,
        intermediate_size=2304,
        num_hidden_layers=16,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    tf.LlamaForCausalLM(config).save_pretrained(directory)


def compare_language(step: Step) -> Ratio:
    """Prefill of 1 x 512 tokens, and decoding 64 after it."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 2048, (1, PROMPT), generator=draw)
    runs: dict[str, Callable[[Any], Any]] = {
        "prefill": lambda model: model(tokens, use_cache=False),
        "decode": lambda model: _decode(model, tokens[:, :16]),
    }
    return _compare(llama, tf.LlamaForCausalLM, step, runs, {"input_ids": tokens[:, :64]})


def _decode(model: Any, tokens: torch.Tensor) -> Any:
    return model.generate(
        tokens, max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False, pad_token_id=0
    )


def compare_minilm(step: Step) -> Ratio:
    """Encoding 32 x 128 tokens."""
    source = next(subject.directory for subject in SUBJECTS if subject.name == "minilm")
    if source is None:
        raise FileNotFoundError("minilm is not here; see docs/quality/README.md")
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, 20_000, (32, 128), generator=draw)

    def copied(directory: Path) -> None:
        copy_checkpoint(source, directory)

    runs: dict[str, Callable[[Any], Any]] = {"encode": lambda model: model(tokens)}
    return _compare(copied, tf.AutoModel, step, runs, {"input_ids": tokens[:8, :64]})


def _compare(
    build: Callable[[Path], None],
    model_class: Any,
    step: Step,
    runs: dict[str, Callable[[Any], Any]],
    batch: dict[str, torch.Tensor],
) -> Ratio:
    with TemporaryDirectory() as scratch, torch.no_grad():
        source, out = Path(scratch) / "dense", Path(scratch) / "reduced"
        build(source)
        copy_checkpoint(source, out)
        reduce(adapt(load_model(source)), step, [batch], out)
        models = [model_class.from_pretrained(directory).eval() for directory in (source, out)]
        times = {name: _times(run, models) for name, run in runs.items()}
        inside = [sum(p.numel() for p in _blocks(model)) for model in models]
        every = [sum(p.numel() for p in model.parameters()) for model in models]
        loaded = [sum(p.nbytes for p in model.parameters()) for model in models]
        return Ratio(inside[1] / inside[0], every[1] / every[0], loaded[1] / loaded[0], times)


def _blocks(model: Any) -> list[torch.Tensor]:
    return [p for name, p in model.named_parameters() if ".layer" in name]


def _times(run: Callable[[Any], Any], models: list[Any]) -> float:
    """Median of the ratios of rounds in which each model runs once, after one that is not timed."""
    found = []
    for number in range(ROUNDS + 1):
        seconds = []
        for model in models:
            begun = time.process_time()
            run(model)
            seconds.append(time.process_time() - begun)
        if number:
            found.append(seconds[1] / seconds[0])
    return median(found)


STEPS: dict[str, Step] = {
    "MLP kept .75": Width(mlp_removed=0.25, score="magnitude", solve=False),
    "MLP kept .5": Width(mlp_removed=0.5, score="magnitude", solve=False),
    "depth kept .75": Depth(removed={Modality.LANGUAGE: 0.25}),
}
