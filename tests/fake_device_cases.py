"""`python -m tests.fake_device_cases`: prunes on the CPU and on a pretended device, and compares.

A process of its own: once torch knows the device, it counts as this machine's accelerator. Prints
a line of JSON for each case: its name, and what went wrong or null.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from app.errors import SecateurError
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from tests.fake_device import DEVICE, There, pretending
from tests.families import BY_NAME, records
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

# Not all: Qwen-VL's code asks for values in ways that a device written in Python cannot answer.
FAMILIES = [
    *("bert", "blip2_t5", "blip_retrieval", "blip_vqa", "clip", "gpt2", "idefics3"),
    *("instructblip", "llama", "llava", "paligemma", "siglip", "t5", "vit"),
]
ZEROTH = {"estimator": "zeroth-order", "samples": 3}
CASES = {
    **{f"llama {method}": ("llama", method, {}) for method in sorted(WEIGHT_METHODS)},
    **{f"{family} ecoflap": (family, "ecoflap", {}) for family in FAMILIES},
    "llava zeroth-order": ("llava", "ecoflap", ZEROTH),
    "llama 2:4": ("llama", "sparsegpt", {}, "2:4"),
}
MIXING = "tensors that mix"


def pruned(adapter, family, method, more, pattern="unstructured"):
    """Every matrix after pruning."""
    batches = []
    if WEIGHT_METHODS[method].needs_data:
        batches = list(adapter.batches(records(BY_NAME[family].kind), batch_size=3, max_length=24))
    prune(adapter, build_recipe(method, more, pattern, sparsity=0.5), batches)
    return {matrix.name: matrix.weight.cpu() for matrix in adapter.matrices}


def compare(directory, family, method, *how):
    """Refuse what differs; products of other layouts round otherwise where weights are moved."""
    if not directory.exists():
        BY_NAME[family].build(directory)
    here = pruned(adapt(load_model(directory)), family, method, *how)
    loaded = load_model(directory)
    with pretending(loaded.model):
        adapter = adapt(loaded)
        assert all(isinstance(matrix.weight, There) for matrix in adapter.matrices)
        there = pruned(adapter, family, method, *how)
    assert here.keys() == there.keys()
    zeros = {name: (weight == 0, there[name] == 0) for name, weight in here.items()}
    if method.startswith("chita"):  # its choice itself hangs on roundings
        assert sum(int(a.sum()) for a, _ in zeros.values()) == sum(
            int(b.sum()) for _, b in zeros.values()
        )
        return
    for name, pair in zeros.items():
        assert torch.equal(*pair), f"other weights of {name} went"
        assert torch.allclose(here[name], there[name], atol=1e-5), f"{name} differs"


def mix():
    """What is made elsewhere is refused."""
    layer = torch.nn.Linear(3, 3)
    with pretending(layer):
        assert layer(torch.ones(2, 3, device=DEVICE)).device == DEVICE
        try:
            layer(torch.ones(2, 3))
        except RuntimeError as error:
            if "mixes devices" not in str(error):
                raise
        else:
            raise AssertionError("nothing was refused")


def main():
    with tempfile.TemporaryDirectory() as place:
        for name, case in {**CASES, MIXING: None}.items():
            try:
                mix() if case is None else compare(Path(place) / case[0], *case)
            except (AssertionError, LookupError, RuntimeError, TypeError, SecateurError) as error:
                found = f"{type(error).__name__}: {error}"[:500]
            else:
                found = None
            sys.stdout.write(f"{json.dumps([name, found])}\n")


if __name__ == "__main__":
    main()
