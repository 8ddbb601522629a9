"""Fewer experts in every mixture: those that give least go, and what routes to them with them.

Scores of expert j, over the real tokens of the calibration set that are routed to it, with f_j its
output and g_j its gate as the forward multiplies it, after top-k and renormalisation: `reap` is the
mean of g_j |f_j| (REAP, arXiv 2510.13999), `norm` the mean of |f_j| (arXiv 2606.15716: better where
the task is not known), `frequency` the share of tokens. One walk, over the model as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from app.errors import NonFiniteError
from app.recipes.structure import Experts, ExpertScore
from app.recipes.structure_report import BlockStructure
from workers.pruning.calibration.statistics import MaskOf
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, steps
from workers.pruning.engine.report_builder import Progress, ProgressListener
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import map_file_keys, read_json
from workers.pruning.models.layout.experts import Routed
from workers.pruning.models.layout.replay import Batch
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.structure.cut import Reduction
from workers.pruning.structure.mixtures import Family, Mixture, Pieces, find_families


def thin(
    adapter: Adapter,
    settings: Experts,
    batches: Sequence[Batch],
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> tuple[Reduction, list[BlockStructure], list[str]]:
    """Choose the experts that go; the model stays as it is.

    Args:
        adapter: the model.
        settings: how.
        batches: calibration inputs, at least one.
        report: told after every block; what it raises ends the run.
        checkpoints: what an earlier run with the same arguments has finished.

    Returns:
        What the checkpoint becomes, what was decided block by block, and warnings.

    Raises:
        StructureError: one of its kinds.
        NonFiniteError: what an expert gives is NaN or infinite.
    """
    families = find_families(adapter, settings)
    keys = map_file_keys(adapter.model, adapter.loaded.checkpoint)
    pieces = {m: Pieces(adapter.model, keys, m, f) for f in families for m in f.mixtures}
    tallies = tallies_of(adapter, list(pieces), batches, report, checkpoints)
    reduction = Reduction(read_json(adapter.loaded.directory, "config.json"))
    decided: list[BlockStructure] = []
    warnings: list[str] = []
    gone: dict[str, Tensor] = {}
    for family in families:
        reduction.config = family.setting.put(reduction.config)
        for mixture in family.mixtures:
            tally = tallies[mixture]
            kept = chosen(tally.scores(settings.score), family.kept, family.groups)
            tensors, names = pieces[mixture].left(kept)
            reduction.tensors |= tensors
            reduction.names |= names
            gone |= _routing(family, mixture, kept)
            decided.append(
                BlockStructure(
                    name=mixture.name,
                    kept=len(kept),
                    score=settings.score,
                    experts=tuple(kept.tolist()),
                )
            )
            if unseen := int((tally.counts[kept] == 0).sum()):
                warnings.append(
                    f"{mixture.name}: {unseen} of the {len(kept)} experts that stay saw no token "
                    "of the calibration data; give more of it"
                )
    if any("expert" in key for key in keys.unread):
        warnings.append(
            "layers that predict further tokens keep all their experts: transformers does not read "
            "them, and what does will not find as many experts as config.json says"
        )
    reduction.stand_in = partial(unrouted, adapter, gone)
    return reduction, decided, warnings


class Tally:
    """What the experts of a mixture gave.

    Attributes:
        gated: sum of gate times norm of the output, (experts,) float64.
        norms: sum of the norms, the same.
        counts: tokens.
    """

    def __init__(self, count: int) -> None:
        """Start at zero."""
        self.gated: Tensor = torch.zeros(count, dtype=torch.float64)
        self.norms: Tensor = torch.zeros(count, dtype=torch.float64)
        self.counts: Tensor = torch.zeros(count, dtype=torch.float64)

    def see(self, states: Tensor, expert: int, share: Tensor | None) -> None:
        """Add what an expert gave for its tokens, (tokens, features); gates are (tokens,)."""
        norms = states.float().norm(dim=-1).double()
        gates = norms.new_ones(()) if share is None else share.double().abs()
        self.gated[expert] += float((norms * gates).sum())
        self.norms[expert] += float(norms.sum())
        self.counts[expert] += len(states)

    def scores(self, score: ExpertScore) -> Tensor:
        """(experts,) float64; zero for one that saw no token."""
        if score == "frequency":
            return self.counts
        return (self.gated if score == "reap" else self.norms) / self.counts.clamp(min=1)

    def finite(self) -> bool:
        """Whether all it saw is."""
        return bool(torch.isfinite(self.norms).all() and torch.isfinite(self.gated).all())


def chosen(scores: Tensor, kept: int, groups: int) -> Tensor:
    """Numbers of the experts that stay, ascending; as many of every group. Ties: the first ones."""
    count = len(scores)
    order = scores.view(groups, -1).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(groups)[:, None] * (count // groups)
    return (order[:, : kept // groups] + first).flatten().sort().values


def tallies_of(
    adapter: Adapter,
    mixtures: Sequence[Mixture],
    batches: Sequence[Batch],
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> dict[Mixture, Tally]:
    """What every mixture gave."""
    found = {mixture: Tally(mixture.count) for mixture in mixtures}
    every = [block for tower in adapter.towers for block in tower.blocks]
    wanted = {mixture.block for mixture in mixtures}
    total = max(place for place, block in enumerate(every) if block in wanted) + 1
    done = set()
    for block in every[:total]:
        entry = checkpoints.get(f"experts/{block.name}")
        if entry is None:
            break
        done.add(block)
        for mixture in (m for m in mixtures if m.block is block):
            tally = found[mixture]
            tally.gated, tally.norms, tally.counts = entry.tensors[mixture.name].clone()
    last = every[total - 1]
    if last in done:
        return found
    activations = ActivationCheckpoints(checkpoints, "experts/activations")
    for step in steps(adapter, batches, last=last, activations=activations, done=done):
        if step.block in done:
            continue
        inside = {m: tally for m, tally in found.items() if m.block is step.block}
        _tally(step, inside)
        tensors = {m.name: torch.stack([t.gated, t.norms, t.counts]) for m, t in inside.items()}
        checkpoints.put(f"experts/{step.block.name}", Entry({}, tensors))
        report(Progress("reducing", step.block.name, every.index(step.block) + 1, total))
    return found


def _tally(step: Step, tallies: Mapping[Mixture, Tally]) -> None:
    """Advance a step, and see what its experts give."""
    for number, (each, _) in enumerate(step.passes):
        args, kwargs = each.inputs(step.index)
        with ExitStack() as stack:
            for mixture, tally in tallies.items():
                see = partial(_see, tally, step.mask_of(number))
                hook = mixture.outputs.register_forward_hook(see)
                stack.callback(hook.remove)
            output = step.block.module(*args, **kwargs)
        each.advance(step.index, output)
    step.advanced = True
    for mixture, tally in tallies.items():
        if not tally.finite():
            raise NonFiniteError(f"the experts of {mixture.name} give NaN or infinite values")


def _see(tally: Tally, mask_of: MaskOf, _module: Any, args: Any, output: Tensor) -> None:
    _, expert, share, routed = args
    assert isinstance(routed, Routed)  # noqa: S101 - for the type alone
    mask = routed.mask(mask_of)
    if mask is not None:
        output = output[mask]
        share = None if share is None else share[mask]
    tally.see(output, expert, share)


def _routing(family: Family, mixture: Mixture, kept: Tensor) -> dict[str, Tensor]:
    """What routes tokens to experts, weights and biases, with a mask of the entries that go."""
    found = {}
    for name, side in family.of(mixture).items():
        inside = name.startswith(f"{mixture.name}.")
        if side.each == 1 and not inside and name.endswith(("weight", "bias")):
            goes = torch.ones(mixture.count + side.tail, dtype=torch.bool)
            goes[side.kept(kept, mixture.count)] = False
            found[name] = goes
    return found


@contextmanager
def unrouted(adapter: Adapter, gone: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, no token is routed to some experts: their logits and corrected scores are -inf.

    Args:
        adapter: the model.
        gone: which entries, by the name of each parameter or buffer that routes.
    """
    model = adapter.model
    values = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    with _Unrouted([(values[name], goes) for name, goes in gone.items()]):
        yield


class _Unrouted(TorchFunctionMode):
    """Puts -inf in the place of what a router makes for some experts.

    What is computed of a routing weight or bias alone, as in another type, stands for it; what is
    computed of it and something else are logits or scores, the experts along the last dimension.
    """

    def __init__(self, routing: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._routing = {id(value): (value, goes) for value, goes in routing}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        output = func(*args, **(kwargs or {}))
        given = [each for each in (*args, *(kwargs or {}).values()) if isinstance(each, Tensor)]
        found = next((self._routing[id(each)] for each in given if id(each) in self._routing), None)
        if found is None or not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        value, goes = found
        if len(given) == 1:
            if output.numel() == value.numel():  # kept, so that its id stays its own
                self._routing[id(output)] = (output, goes)
            return output
        if output.ndim == 0 or output.shape[-1] != len(goes):
            return output
        return output.masked_fill(goes.to(output.device), -torch.inf)
