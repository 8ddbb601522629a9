"""What PAR costs at every profile: operations, time, cache; router and selection included.

A random LLaVA of 16 decoder layers and prompts of 576 image and 76 text tokens. Time does not
depend on what the weights say, so nothing is trained. The profiles are attached as a user does.
"""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import transformers

from benchmarks.figures import Figure
from workers.pruning.routing.artifact import write_artifact
from workers.pruning.routing.flops import Costs, Prompt, count
from workers.pruning.routing.profiles import standard_profiles
from workers.pruning.routing.runtime import SlimRouter, anatomy, attach, layer_candidates

LAYERS, IMAGE_TOKENS, TEXT_TOKENS = 16, 576, 76
SMALL = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
}
LLAVA_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
DECODED = 32  # tokens
MARGIN = 0.10  # prefill time may exceed the share of operations by this


def build(**text_sizes: int) -> Any:
    """A LLaVA whose vision tower is too small to matter."""
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=336,
        patch_size=14,
    )
    text = transformers.LlamaConfig(**text_sizes, vocab_size=1000)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=999, image_seq_length=IMAGE_TOKENS
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


def prompt() -> dict[str, torch.Tensor]:
    """A system prompt, an image, a question."""
    text = torch.randint(3, 900, (1, TEXT_TOKENS))
    image = torch.full((1, IMAGE_TOKENS), 999)
    ids = torch.cat([text[:, :36], image, text[:, 36:]], dim=1)
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.randn(1, 3, 336, 336)}


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    made = work()
    return time.process_time() - started, made


class Subject:
    """A model and one prompt."""

    def __init__(self) -> None:
        self.model, self.inputs = build(**SMALL), prompt()

    def prefill(self) -> Any:
        with torch.no_grad():
            return self.model(**self.inputs, use_cache=True, logits_to_keep=1).past_key_values

    def decode(self, cache: Any) -> None:
        mask = self.inputs["attention_mask"]
        with torch.no_grad():
            for step in range(DECODED):
                longer = torch.nn.functional.pad(mask, (0, step + 1), value=1)
                position = torch.tensor([[mask.shape[1] + step]])
                self.model(
                    input_ids=torch.tensor([[5]]),
                    attention_mask=longer,
                    position_ids=position,
                    past_key_values=cache,
                )

    def run(self) -> tuple[float, float]:
        """CPU seconds of the prompt and of the tokens after it."""
        prefill, cache = seconds(self.prefill)
        decode, _ = seconds(lambda: self.decode(cache))
        return prefill, decode

    def cached(self) -> int:
        """Positions cached after the prompt, over all layers."""
        return sum(layer.get_seq_length() for layer in self.prefill().layers)


def artifact(subject: Subject, directory: Path) -> None:
    shape = anatomy(subject.model)
    write_artifact(
        directory,
        SlimRouter(shape.hidden_size, LAYERS),
        shape,
        model="random",
        revision=None,
        profiles=standard_profiles(shape, 2),
        layer_candidates=layer_candidates(LAYERS),
    )


def measured(dense: Subject, subject: Subject, pruned: Any, rounds: int) -> dict[str, list[float]]:
    """Profile -> median ratios of prefill and decode time to the dense runs just before."""
    seen: dict[str, list[list[float]]] = defaultdict(list)
    dense.run()  # warm-up
    for number in range(rounds):
        for name in pruned.profiles:
            pruned.profile = name
            base, ours = dense.run(), subject.run()
            seen[name].append([b / a for a, b in zip(base, ours, strict=True)])
        print(f"efficiency: round {number + 1} of {rounds}", flush=True)
    return {name: [*map(statistics.median, zip(*each, strict=True))] for name, each in seen.items()}


def router_of_7b() -> float:
    """Operations of the slim router, in those of LLaVA-1.5-7B's decoder layers on one prompt."""
    with torch.device("meta"):
        subject = anatomy(build(**LLAVA_7B))
    router = SlimRouter(subject.hidden_size, len(subject.layers))
    costs = Costs(subject, router, Prompt(TEXT_TOKENS, IMAGE_TOKENS))
    return costs.router / costs.dense()


def figures(rounds: int) -> dict[str, Figure]:
    """Every profile's share of the dense model's operations, time and cache."""
    torch.set_num_threads(1)
    dense, subject = Subject(), Subject()
    found = {"slim router of a 7B model: FLOPs / dense": Figure(router_of_7b(), most=0.001)}
    whole, kept = count(dense.prefill)["Global"], dense.cached()
    with TemporaryDirectory() as directory:
        artifact(subject, Path(directory))
        with attach(subject.model, directory) as pruned:
            for name, (prefill, decode) in measured(dense, subject, pruned, rounds).items():
                pruned.profile = name
                operations = count(subject.prefill)["Global"] / whole
                found[f"{name}: FLOPs / dense"] = Figure(operations)
                found[f"{name}: prefill time / dense"] = Figure(prefill, most=operations + MARGIN)
                found[f"{name}: decode time / dense"] = Figure(decode)
                found[f"{name}: KV tokens / dense"] = Figure(subject.cached() / kept)
    return found
