"""One family through a job's path: built, saved, loaded, pruned by five methods, read again."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

from app.errors import SecateurError
from app.recipes.pattern import FEWEST_INPUTS
from app.recipes.pruning_report import PruningReport
from app.recipes.recipe import build_recipe
from benchmarks.families import plain
from benchmarks.families.inputs import Batch, batches_for
from benchmarks.families.record import METHODS, OK
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import VOCABULARY, Marks, build
from workers.pipeline.export import verify_sparsity, verify_target
from workers.pruning.calibration.statistics import Calibration, SquareSum
from workers.pruning.calibration.walk import steps
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.engine.targets import find_targets
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint, read_weights, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

_MASK = 4  # id of the token that hides a word
_REACH = 0.9  # of the weights in blocks that are matrices


def attempt(name: str, place: Path) -> dict[str, Any]:
    """Everything found of one class; a check holds `ok` or the reason in one line.

    Args:
        name: of a model class of transformers.
        place: an empty directory, filled.
    """
    began = time.monotonic()
    found: dict[str, Any] = {"name": name, "type": _model_type(name), "checks": {}}
    try:
        model = build(name, CHANGES.get(name, {}), Marks())
        batches = batches_for(model, INPUTS.get(name, {}))
        plain.forward(model, batches[0])
        source = place / "source"
        model.save_pretrained(source)
        if "input_ids" in batches[0]:
            _tokenizer().save_pretrained(source)
    except Exception as error:  # noqa: BLE001 (whatever a foreign family raises is the result)
        return found | {"built": f"{type(error).__name__}: {_line(error)}"}
    found |= {"built": OK, "parameters": sum(p.numel() for p in model.parameters())}
    del model
    checks = found["checks"]
    checks["statistics"] = _checked(lambda: _survey(source, batches, found))
    reached = found.get("reached_blocks", 0.0)
    checks["reach"] = OK if reached >= _REACH else f"{reached:.1%} of the weights in blocks"
    if "towers" in found:
        checks["modalities"] = _checked(lambda: _modalities(source, batches))
    for method in METHODS:
        copy = place / method
        checks[method] = _checked(lambda copy=copy, m=method: _prune(source, copy, m, batches))
        shutil.rmtree(copy, ignore_errors=True)
    return found | {"seconds": round(time.monotonic() - began, 1)}


def _checked(check: Callable[[], str | None]) -> str:
    try:
        return check() or OK
    except SecateurError as error:
        return f"{error.code}: {_line(error)}"
    except Exception as error:  # noqa: BLE001 (as above)
        return f"{type(error).__name__}: {_line(error)}"


def _model_type(name: str) -> str:
    model_class: Any = getattr(transformers, name)
    return str(model_class.config_class.model_type)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:240]


def _fed(adapter: Adapter, batches: list[Batch]) -> list[Batch]:
    return [{k: v for k, v in batch.items() if k in adapter.accepted} for batch in batches]


def _survey(source: Path, batches: list[Batch], found: dict[str, Any]) -> str | None:
    """What is reached, and the walk's sums beside those of plain hooks."""
    adapter = adapt(load_model(source))
    found |= _reach(adapter, adapt(adapter.loaded, include_bridge=True))
    ours = _walked(adapter, batches)
    run = _whole(adapter)
    seen = [m for m in adapter.matrices if m.callers]
    sums = plain.square_sums(run, batches, seen)
    found["unseen"] = sorted(m.name for m in seen if m not in sums)
    return plain.difference(ours, sums)


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One word a token: losses ask it for the mask token."""
    words = {f"w{i}": i for i in range(VOCABULARY)}
    words = {"<mask>" if i == _MASK else word: i for word, i in words.items()}
    raw = Tokenizer(WordLevel(words, unk_token="w3"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="w3", pad_token="w0", mask_token="<mask>"
    )


def _parts(module: nn.Module) -> bool:
    """A block has parts; a list of single layers is none of blocks."""
    return any(module.children())


def _reach(adapter: Adapter, bridged: Adapter) -> dict[str, Any]:
    """Shares of the weights in blocks, bridges taken in, and of all weights as it is by default."""
    model = adapter.model
    no_matrices = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    left_out = {
        id(p) for m in model.modules() if isinstance(m, no_matrices) for p in m.parameters()
    }
    blocks = {
        id(stored(parameter)): parameter.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and "head" not in name and all(map(_parts, module))
        for parameter in module.parameters()
        if parameter.ndim > 1
        and min(parameter.shape) >= FEWEST_INPUTS
        and id(parameter) not in left_out
    }
    # Routers, gates and indexers are pruned only where a target names them.
    reached = find_targets(
        bridged.towers, build_recipe("magnitude", {}, "unstructured", sparsity=0.5)
    )
    inside = sum(m.numel for m, b in reached.blocks.items() if re.search(r"\.\d+(\.|$)", b.name))
    return {
        "towers": {
            t.name: [str(t.modality), len(t.blocks), sum(len(b.matrices) for b in t.blocks)]
            for t in adapter.towers
        },
        "bridges": list(adapter.bridges),
        "reached_blocks": round(inside / max(sum(blocks.values()), 1), 4),
        "reached_all": round(
            sum(m.numel for m in adapter.matrices) / sum(p.numel() for p in model.parameters()), 4
        ),
    }


def _whole(adapter: Adapter) -> plain.Forward:
    changes = INPUTS.get(type(adapter.model).__name__, {})
    return plain.Forward(adapter.forward, changes.get("hidden", 0))


def _walked(adapter: Adapter, batches: list[Batch]) -> dict[Any, torch.Tensor]:
    calibration = Calibration(SquareSum)
    matrices = [m for m in adapter.matrices if m.callers]
    last = adapter.towers[-1].blocks[-1]
    with torch.no_grad(), evaluating(adapter.model):
        for step in steps(adapter, batches, last=last):
            step.advance(calibration, matrices)
    sums = {matrix: calibration.of(matrix) for matrix in matrices}
    return {matrix: found.total for matrix, found in sums.items() if found is not None}


def _modalities(source: Path, batches: list[Batch]) -> str | None:
    adapter = adapt(load_model(source), include_bridge=True)
    run = _whole(adapter)
    return plain.wrong_modality(run, batches[0], adapter.towers)


def _prune(source: Path, copy: Path, name: str, batches: list[Batch]) -> str | None:
    """Prune a copy as a job does; then read it with plain transformers."""
    method, pattern = METHODS[name]
    copy_checkpoint(source, copy)
    adapter = adapt(load_model(copy))
    recipe = build_recipe(method, {}, pattern, sparsity=0.5)
    targets = find_targets(adapter.towers, recipe, batches)
    dense = {matrix: matrix.weight.clone() for matrix in targets.blocks}
    report = prune(adapter, recipe, batches)
    write_back(copy, adapter.matrices, adapter.memory)
    verify_sparsity(read_weights(copy).zeros, report.matrices)
    verify_target(report)
    if report.model.zeros != report.target:
        return f"{report.model.zeros} weights are zero, not {report.target}"
    if pattern == "2:4" and (odd := _not_two_of_four(adapter, report)):
        return f"{odd} is not 2:4"
    if (told := _read_again(adapter, copy)) is not None:
        return told
    if name == "wanda":
        run = _whole(adapter)
        blocks = [block for tower in adapter.towers for block in tower.blocks]
        with torch.no_grad():
            return plain.wanda_difference(run, batches, blocks, dense)
    return None


def _not_two_of_four(adapter: Adapter, report: PruningReport) -> str | None:
    pruned = {each.module for each in report.matrices}
    for matrix in (m for m in adapter.matrices if m.name in pruned):
        weight = matrix.weight
        whole = weight[:, : weight.shape[1] // 4 * 4]
        groups = (whole != 0).reshape(len(whole), -1, 4).sum(-1)
        if groups.numel() and int(groups.max()) > 2:
            return matrix.name
    return None


def _read_again(adapter: Adapter, directory: Path) -> str | None:
    model_class: Any = getattr(transformers, type(adapter.model).__name__)
    model, info = model_class.from_pretrained(directory, output_loading_info=True)
    if missing := [*info["missing_keys"], *info["mismatched_keys"]]:
        return f"plain from_pretrained misses {missing[0]}"
    plain_weights = dict(model.named_parameters())
    for key, parameter in adapter.model.named_parameters():
        if not torch.equal(plain_weights[key].detach(), parameter.detach()):
            return f"plain from_pretrained reads another {key}"
    return None
