"""`python -m tests.device_cases [cuda]`: prunes on the CPU and on another device, and compares.

Without an argument the device is pretended (`tests.fake_device`). A process of its own: once torch
knows that device, it counts as this machine's accelerator. Prints a line of JSON for each case:
its name, and what went wrong or null.
"""

import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file

from app.errors import SecateurError
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from app.recipes.recovery import Recovery
from app.recipes.structure import Depth, Experts, Width
from tests.families import BY_NAME, records
from tests.models_of_experts import TEXT
from workers.pruning.calibration.outputs import learn_by_heart, lessons_of
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import set_precision
from workers.pruning.models.loading import load_model
from workers.pruning.recovery.model import recover_model
from workers.pruning.resume import NoCheckpoints
from workers.pruning.structure.reduce import reduce

# Not all: Qwen-VL's code asks for values in ways that a device written in Python cannot answer.
FAMILIES = [
    *("bert", "blip2_t5", "blip_retrieval", "blip_vqa", "clip", "gpt2", "idefics3"),
    *("instructblip", "llama", "llava", "paligemma", "siglip", "t5", "vit"),
]
ZEROTH = {"estimator": "zeroth-order", "samples": 3}
CASES = {
    **{
        f"{family} {method}": (family, method, {})
        for method in sorted(WEIGHT_METHODS)
        for family in (["llava"] if method == "tamp" else ["llama"])  # it wants image tokens
    },
    **{f"{family} ecoflap": (family, "ecoflap", {}) for family in FAMILIES},
    "llava zeroth-order": ("llava", "ecoflap", ZEROTH),
    "llama 2:4": ("llama", "sparsegpt", {}, "2:4"),
    "llama wanda 2:4": ("llama", "wanda", {}, "2:4"),
    "mixtral wanda": ("mixtral", "wanda", {}),  # experts that lie apart in the files
    "mixtral ecoflap": ("mixtral", "ecoflap", {}),
    "gpt_oss sparsegpt": ("gpt_oss", "sparsegpt", {}),  # and packed ones
}
SMALLER = {
    "llava width": ("llava", Width(mlp_removed=0.5, score="obs")),
    "clip width": ("clip", Width(mlp_removed=0.5, score="variance")),
    "gpt2 width": ("gpt2", Width(mlp_removed=0.5, score="energy")),
    "llava depth": ("llava", Depth(removed=0.5, ends=True)),
    "mixtral experts": ("mixtral", Experts(removed=0.5)),
}
TRAINED = {
    "llama recovery of blocks": Recovery(scope="block", steps=20, learning_rate=0.03),
    "llama recovery of the model": Recovery(scope="model", steps=20, learning_rate=0.03),
}
TIGHT = "activations without room on the device"
MIXING = "tensors that mix"


def batches_of(adapter, family, size=3):
    """Calibration inputs."""
    kind = "text" if family in TEXT else BY_NAME[family].kind
    return list(adapter.batches(records(kind), batch_size=size, max_length=24))


def build(directory, family):
    """The family's checkpoint, once."""
    if not directory.exists():
        (TEXT[family] if family in TEXT else BY_NAME[family].build)(directory)


def pruned(adapter, family, method, more, pattern="unstructured"):
    """Every matrix after pruning."""
    batches = []
    if WEIGHT_METHODS[method].needs_data:
        batches = batches_of(adapter, family)
    prune(adapter, build_recipe(method, more, pattern, sparsity=0.5), batches)
    return {matrix.name: matrix.weight.clone() for matrix in adapter.matrices}


def compare(directory, there, family, method, *how, on_device=None):
    """Refuse what differs; products of other layouts round otherwise where weights are moved.

    The device's model lies in files, which are what is compared in the end.
    """
    build(directory, family)
    here = pruned(adapt(load_model(directory)), family, method, *how)
    with tempfile.TemporaryDirectory() as output, there.using():
        copy_checkpoint(directory, Path(output))
        memory = Memory(Path(output), activations=0, on_device=on_device)
        adapter = adapt(load_model(directory, memory=memory, device=there.device))
        assert all(matrix.fetch().device == there.device for matrix in adapter.matrices)
        pruned(adapter, family, method, *how)
        write_back(Path(output), adapter.matrices, memory)
        found = {m.name: m.weight.clone() for m in adapt(load_model(Path(output))).matrices}
    assert here.keys() == found.keys()
    zeros = {name: (weight == 0, found[name] == 0) for name, weight in here.items()}
    # CHITA's choice itself hangs on roundings, and a GPU draws other noise.
    if method.startswith("chita") or (how[:1] == (ZEROTH,) and there.device.type == "cuda"):
        assert sum(int(a.sum()) for a, _ in zeros.values()) == sum(
            int(b.sum()) for _, b in zeros.values()
        )
        return
    # So do the choices that follow what ADMM has solved for, where two weights are nearly alike.
    if method == "recommended":
        others = sum(int((a != b).sum()) for a, b in zeros.values())
        assert others < 0.01 * sum(a.numel() for a, _ in zeros.values()), f"{others} others went"
        return
    # ADMM's solver ends when a step takes little, and a rounding may make that another step.
    atol = 1e-3 if method == "admm" else 1e-5
    for name, pair in zeros.items():
        assert torch.equal(*pair), f"other weights of {name} went"
        most = float((here[name] - found[name]).abs().max())
        assert torch.allclose(here[name], found[name], atol=atol), f"{name} differs by {most:g}"


def compare_smaller(directory, there, family, step):
    """Refuse files of a smaller model that differ beyond rounding."""
    build(directory, family)
    here = smaller(directory, family, step)
    with there.using():
        found = smaller(directory, family, step, device=there.device)
    assert here.keys() == found.keys()
    for name, weight in here.items():
        assert weight.shape == found[name].shape, f"{name} has another shape"
        assert torch.allclose(weight, found[name], atol=1e-4), f"{name} differs"


def smaller(directory, family, step, device=None):
    """Every tensor in the files after a step."""
    with tempfile.TemporaryDirectory() as output:
        copy_checkpoint(directory, Path(output))
        memory = Memory(Path(output), activations=0, on_device=0)
        adapter = adapt(load_model(directory, memory=memory, device=device))
        reduce(adapter, step, batches_of(adapter, family), Path(output))
        return load_file(Path(output) / "model.safetensors")


def compare_trained(directory, there, settings):
    """Refuse training that ends elsewhere; Adam follows signs: weights wander, errors agree."""
    build(directory, "llama")
    here, distances = trained(directory, settings)
    with there.using():
        found, others = trained(directory, settings, device=there.device)
    assert all(after < before for before, after in distances), "nothing was learnt"
    for pair, other in zip(distances, others, strict=True):
        assert all(abs(a - b) < 0.05 * pair[0] for a, b in zip(pair, other, strict=True)), (
            f"{pair} on the CPU, {other} there"
        )
    for name, weight in here.items():
        assert torch.equal(weight == 0, found[name] == 0), f"zeros of {name} moved"


def trained(directory, settings, device=None):
    """Every matrix after pruning and recovery, and the distances before and after."""
    with tempfile.TemporaryDirectory() as output:
        copy_checkpoint(directory, Path(output))
        memory = Memory(Path(output), activations=0, on_device=0)
        adapter = adapt(load_model(directory, memory=memory, device=device))
        batches = batches_of(adapter, "llama", size=1)
        known = learn_by_heart(adapter, lessons_of(adapter, batches))
        report = prune(
            adapter,
            build_recipe("wanda", {}, "unstructured", sparsity=0.5, recovery=settings),
            batches,
        )
        distances = [each.recovery for each in report.matrices if each.recovery]
        if settings.scope == "model":
            found = recover_model(
                *(adapter, known, adapter.matrices, settings),
                tick=lambda: None,
                checkpoints=NoCheckpoints(),
            )
            distances = [(found.before, found.after)]
        write_back(Path(output), adapter.matrices, memory)
        weights = {m.name: m.weight.clone() for m in adapt(load_model(Path(output))).matrices}
        return weights, distances


def mix(there):
    """What is made elsewhere is refused."""
    with there.using():
        _mix(there.device)


def _mix(device):
    weight = torch.ones(3, 3, device=device)
    assert torch.nn.functional.linear(torch.ones(2, 3, device=device), weight).device == device
    for refused in (
        lambda: torch.nn.functional.linear(torch.ones(2, 3), weight),
        lambda: torch.zeros(()).add_(weight.sum()),
    ):
        try:
            refused()
        except RuntimeError as error:
            if "device" not in str(error):
                raise
        else:
            raise AssertionError("nothing was refused")


def other(name):
    """The device, and what has to be entered to use it."""
    if name == "cuda":
        set_precision(tf32=False)
        return SimpleNamespace(device=torch.device("cuda", 0), using=nullcontext)
    from tests.fake_device import DEVICE, pretending  # noqa: PLC0415 - makes torch know it

    return SimpleNamespace(device=DEVICE, using=pretending)


def main(name):
    there = other(name)
    with tempfile.TemporaryDirectory() as place:
        cases = {
            name: lambda case=case: compare(Path(place) / case[0], there, *case)
            for name, case in CASES.items()
        }
        cases |= {
            name: lambda case=case: compare_smaller(Path(place) / case[0], there, *case)
            for name, case in SMALLER.items()
        }
        cases |= {
            name: lambda settings=settings: compare_trained(Path(place) / "llama", there, settings)
            for name, settings in TRAINED.items()
        }
        cases[TIGHT] = lambda: compare(
            Path(place) / "llava", there, "llava", "sparsegpt", {}, on_device=0
        )
        cases[MIXING] = lambda: mix(there)
        for each, case in cases.items():
            try:
                case()
            except (AssertionError, LookupError, RuntimeError, TypeError, SecateurError) as error:
                found = f"{type(error).__name__}: {error}"[:500]
            else:
                found = None
            sys.stdout.write(f"{json.dumps([each, found])}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["pretended"])
