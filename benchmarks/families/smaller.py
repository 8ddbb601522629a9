"""One family made smaller, or stored in 8 bits of two kinds, and read by plain transformers."""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from app.errors import SecateurError
from app.recipes.quantization import Quantized
from app.recipes.structure import Depth, Experts, Step, Width
from benchmarks.families import plain
from benchmarks.families.inputs import Batch, batches_for
from benchmarks.families.record import DEFECT, OK
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import Marks, build
from workers.pruning.memory import Memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer
from workers.pruning.structure.reduce import check_outputs, outputs_of, reduce

STEPS: Mapping[str, Step] = {
    "width": Width(mlp_removed=0.5, multiple=1),
    "heads": Width(mlp_removed=0.0, heads_removed=0.5),
    "depth": Depth(removed=0.5, ends=True),
    "experts": Experts(removed=0.25),
}
FORMATS: Mapping[str, Quantized] = {"int8": "int8", "fp8": "fp8"}
CHECKS = (*STEPS, *FORMATS)
NEAR = 1e-5  # of the largest output
_TOKENS = 3


def attempt(name: str, place: Path) -> dict[str, Any]:
    """What became of one class; a check holds `ok` or the reason in one line.

    A reason begins with the code of a refusal; with `late` where files had changed by then, and
    with `defect` where it is no refusal.

    Args:
        name: of a model class of transformers.
        place: an empty directory, filled.
    """
    began = time.monotonic()
    found: dict[str, Any] = {"name": name, "checks": {}}
    source = place / "source"
    try:
        model = build(name, CHANGES.get(name, {}), Marks())
        batches = batches_for(model, INPUTS.get(name, {}))
        plain.forward(model, batches[0])
        model.save_pretrained(source)
        generates = _generates(model, batches[0])
    except Exception as error:  # noqa: BLE001 (whatever a foreign family raises is the result)
        return found | {"built": f"{type(error).__name__}: {_line(error)}"}
    del model
    before = _digest(source)
    for check in CHECKS:
        copy = place / check
        copy_checkpoint(source, copy)
        step = STEPS.get(check)
        carry = partial(_reduced, step) if step else partial(_quantised, FORMATS[check])
        made = partial(carry, source, copy, batches, generates)
        found["checks"][check] = _checked(made, copy, before)
        shutil.rmtree(copy, ignore_errors=True)
    return found | {
        "built": OK,
        "generates": generates,
        "seconds": round(time.monotonic() - began, 1),
    }


def _checked(check: Callable[[], str | None], copy: Path, before: str) -> str:
    try:
        told = check()
    except SecateurError as error:
        late = "" if _digest(copy) == before else "late "
        return f"{late}{error.code}: {_line(error)}"
    except Exception as error:  # noqa: BLE001 (as above)
        return f"{DEFECT}{type(error).__name__}: {_line(error)}"
    return f"{DEFECT}{told}" if told else OK


def _reduced(
    step: Step, source: Path, copy: Path, batches: list[Batch], generates: bool
) -> str | None:
    """Take something out; what is left has to compute what the model with zeros there does."""
    adapter = adapt(load_model(source))
    made = reduce(adapter, step, batches, copy)
    left = adapt(load_model(copy))
    check_outputs(left, batches[0], made)
    return _read(left, copy, batches, made.expected, generates)


def _quantised(
    kind: Quantized, source: Path, copy: Path, batches: list[Batch], generates: bool
) -> str | None:
    """Store half zeros in 8 bits: they stay zeros, and the model is that which was measured."""
    del source
    adapter = adapt(load_model(copy, memory=Memory(copy, scratch=copy)))
    quantizer = Quantizer(adapter, kind)
    for layer in quantizer.layers:
        size = layer.weight.abs()
        layer.weight[size < size.median()] = 0
    zero = {layer.key: layer.weight == 0 for layer in quantizer.layers}
    quantizer.round()
    with torch.no_grad():
        expected = outputs_of(adapter, batches[0])
    write_back(copy, adapter.matrices, adapter.memory)
    quantizer.write(copy)
    files: dict[str, Tensor] = {}
    for file in copy.glob("*.safetensors"):
        files |= load_file(file)
    for key, was in zero.items():
        if bool(files[key][was].any()):
            return f"a zero of {key} is something else"
    return _read(adapter, copy, batches, expected, generates)


def _read(
    adapter: Adapter,
    directory: Path,
    batches: list[Batch],
    expected: tuple[Tensor, ...],
    generates: bool,
) -> str | None:
    """Load the files with plain transformers, run them and hold the outputs to what they were."""
    model_class: Any = getattr(transformers, type(adapter.model).__name__)
    model, info = model_class.from_pretrained(directory, output_loading_info=True)
    if missing := [*info["missing_keys"], *info["mismatched_keys"], *info["unexpected_keys"]]:
        return f"plain from_pretrained stumbles over {missing[0]}"
    torch.manual_seed(0)  # as adapters do: some classes draw what they look at
    output = plain.forward(model.eval(), batches[0])
    found = [v for v in output.values() if isinstance(v, Tensor) and v.is_floating_point()]
    for one, other in zip(expected, found, strict=False):
        if one.shape == other.shape:
            apart = _apart(one, other.float())
            if not apart <= NEAR:
                return f"outputs differ by {apart:.1e} of the largest"
    if generates and not _generates(model, batches[0]):
        return "it does not generate any more"
    return None


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, of the largest value; some classes mask with infinities."""
    scale = max(float(one[one.isfinite()].abs().max()), 1e-6)
    apart = torch.where(one == other, 0.0, (one - other).abs())
    return float(apart.max()) / scale


def _generates(model: Any, batch: Batch) -> bool:
    """Whether the class makes tokens of the batch."""
    if not getattr(model, "can_generate", lambda: False)():
        return False
    given = {k: v for k, v in batch.items() if k not in {"labels", "decoder_input_ids"}}
    try:
        with torch.no_grad():
            model.generate(**given, max_new_tokens=_TOKENS, do_sample=False)
    except Exception:  # noqa: BLE001 (random tokens are no prompt for some)
        return False
    return True


def _digest(directory: Path) -> str:
    files = [*sorted(directory.glob("*.safetensors")), directory / "config.json"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:240]
