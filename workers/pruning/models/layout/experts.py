"""Mixtures of experts whose weights are packed: one parameter holds a projection of all experts.

Their forward is replaced by a plain loop over the experts that a batch is routed to. It multiplies
in an `ExpertProjection` for every expert and projection, so that what an expert sees can be watched
like the input of any linear layer, and a backward pass makes the gradient of all experts at once.
What it computes is what the module's own forward computes: https://huggingface.co/docs/transformers
describes the contract of its experts modules (activation, gate, biases, layout) that this reads.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.pruning.models.layout.structure import View

_GATE_UP = ("gate_proj", "up_proj")


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """Where the tokens of an expert come from.

    Attributes:
        tokens: those of all experts, (tokens, features).
        rows: the expert's own among them.
    """

    tokens: Tensor
    rows: Tensor

    def mask(self, mask_of: Callable[[Tensor], Tensor | None]) -> Tensor | None:
        """Which of the expert's tokens are real, given what tells it of all tokens."""
        mask = mask_of(self.tokens)
        return None if mask is None else mask[self.rows]


class ExpertProjection(nn.Module):
    """The product of one expert's tokens with one of its weights; it holds no weight itself."""

    def __init__(self, out_features: int, in_features: int) -> None:
        """Take the sizes of the weight."""
        super().__init__()
        self.out_features = out_features
        self.in_features = in_features

    def forward(
        self, states: Tensor, weight: Tensor, bias: Tensor | None, routed: Routed | None
    ) -> Tensor:
        """(tokens, in) x (out, in); where the tokens come from is for those who watch."""
        del routed
        return functional.linear(states, weight, bias)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """One parameter with a projection of all experts.

    Attributes:
        owner: path from the experts module to the module whose parameter it is.
        attribute: its name there.
        bias: name of the parameter with the biases.
        transposed: stored as (experts, in, out).
        count: how many experts; the parameter may hold more, which compute nothing.
        parts: label and output rows of the matrices of each expert.
        projections: what multiplies by it, one an expert.
    """

    owner: str
    attribute: str
    bias: str | None
    transposed: bool
    count: int
    parts: tuple[tuple[str, slice | None], ...]
    projections: nn.ModuleList

    def names(self) -> Iterator[str]:
        """Names of the parameters below the experts module."""
        for attribute in filter(None, (self.attribute, self.bias)):
            yield f"{self.owner}.{attribute}" if self.owner else attribute

    def matrices(self) -> Iterator[tuple[str, View, nn.Module]]:
        """Name below the experts module, place in the parameter and caller of every matrix."""
        for index, projection in enumerate(self.projections):
            for label, rows in self.parts:
                view = View((index, self.count), self.transposed, rows)
                yield f"{index}.{label}", view, projection


class ExpertOutputs(nn.Module):
    """Passes on what an expert makes of its tokens; for those who watch."""

    def forward(self, states: Tensor, expert: int, share: Tensor | None, routed: Routed) -> Tensor:
        """(tokens, features), which are then multiplied by (tokens,); None: they were before."""
        del expert, share, routed
        return states


class Experts(nn.Module):
    """Stands beside a module's own experts: what is packed in it, and their projections.

    Attributes:
        packed: its parameters.
        outputs: is shown what each expert gives; None where a token is routed to none of them, or
            each projection is a module of its own.
    """

    def __init__(self, packed: tuple[Packed, ...], outputs: ExpertOutputs | None) -> None:
        """Take what is packed."""
        super().__init__()
        self.packed = packed
        for each in packed:
            self.add_module(each.attribute, each.projections)
        self.outputs = outputs


EXPERTS = "expert_projections"


def experts_of(module: nn.Module) -> tuple[Packed, ...]:
    """The packed projections of an experts module that was opened; none of any other module."""
    found = module._modules.get(EXPERTS)  # noqa: SLF001 - modules raise where they have no such name
    return found.packed if isinstance(found, Experts) else ()


def outputs_of_experts(module: nn.Module) -> ExpertOutputs | None:
    """What is shown the outputs of the experts of a module that was opened, if it routes tokens."""
    found = module._modules.get(EXPERTS)  # noqa: SLF001 - modules raise where they have no such name
    return found.outputs if isinstance(found, Experts) else None


def open_experts(model: nn.Module) -> None:
    """Replace the forwards of all experts modules of a known kind."""
    for module in list(model.modules()):
        for fits, describe, forward in _KINDS:
            if fits(module):
                outputs = ExpertOutputs() if forward in _SHOWN else None
                module.add_module(EXPERTS, Experts(tuple(describe(module)), outputs))
                module.__dict__["forward"] = MethodType(forward, module)
                break


def _packed(
    module: Any, attribute: str, labels: tuple[str, ...], *, transposed: bool, owner: str = ""
) -> Packed:
    """One parameter of `module`, whose output rows are those of the labels."""
    parameter = getattr(module.get_submodule(owner), attribute)
    down = module._parameters.get("down_proj")  # noqa: SLF001 - modules raise where they have none
    count = module.num_experts if down is None else len(down)
    rows, columns = parameter.shape[-2:]
    if parameter.ndim == 2:  # noqa: PLR2004 - experts one below the other
        rows //= count
    rows, columns = (columns, rows) if transposed else (rows, columns)
    each = rows // len(labels)
    parts: list[tuple[str, slice | None]] = [(labels[0], None)]
    if len(labels) > 1 and getattr(module, "is_concatenated", True):
        parts = [(name, slice(i * each, (i + 1) * each)) for i, name in enumerate(labels)]
    elif len(labels) > 1:  # interleaved
        parts = [(name, slice(i, None, len(labels))) for i, name in enumerate(labels)]
    projections = nn.ModuleList(ExpertProjection(rows, columns) for _ in range(count))
    bias = f"{attribute}_bias" if getattr(module, "has_bias", False) else None
    return Packed(owner, attribute, bias, transposed, count, tuple(parts), projections)


def _multiplier(
    module: nn.Module, packed: Packed
) -> Callable[[int, Tensor, Routed | None], Tensor]:
    """Multiplies the tokens of an expert by its weight; a backward pass makes one gradient."""
    owner = module.get_submodule(packed.owner)
    parameter = getattr(owner, packed.attribute)
    if parameter.ndim == 2:  # noqa: PLR2004 - experts one below the other
        parameter = parameter.view(packed.count, -1, parameter.shape[-1])
    weights = parameter.unbind(0)
    biases = getattr(owner, packed.bias).unbind(0) if packed.bias else [None] * len(weights)

    def product(index: int, states: Tensor, routed: Routed | None) -> Tensor:
        weight = weights[index].T if packed.transposed else weights[index]
        found: Tensor = packed.projections[index](states, weight, biases[index], routed)
        return found

    return product


# -- experts that are handed every token and its choice of experts: nearly all of transformers --


def _is_routed(module: nn.Module) -> bool:
    names = list(inspect.signature(type(module).forward).parameters)
    gated, plain = ("gate_up_proj", "down_proj"), ("up_proj", "down_proj")
    return len(names) == 4 and (_packs(module, *gated) or _packs(module, *plain))  # noqa: PLR2004 - self, states, index, weights


def _packs(module: nn.Module, *names: str) -> bool:
    found = [module._parameters.get(name) for name in names]  # noqa: SLF001 - buffers do not count
    return all(each is not None and each.ndim == 3 for each in found)  # noqa: PLR2004 - experts


def _gated(module: Any) -> Iterator[Packed]:
    gated = _packs(module, "gate_up_proj")
    first = "gate_up_proj" if gated else "up_proj"
    transposed = _is_transposed(getattr(module, first), module.down_proj, module)
    labels = _GATE_UP if gated else ("up_proj",)
    yield _packed(module, first, labels, transposed=transposed)
    yield _packed(module, "down_proj", ("down_proj",), transposed=transposed)


def _is_transposed(first: Tensor, down: Tensor, module: nn.Module) -> bool:
    """Whether weights are (in, out): what multiplies first has as many inputs as `down` outputs."""
    plain, turned = first.shape[2] == down.shape[1], first.shape[1] == down.shape[2]
    return bool(getattr(module, "is_transposed", False)) if plain == turned else turned


def _route(self: Any, states: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sum over the chosen experts of weight * down(activation(up(token)))."""
    first, down = (_multiplier(self, packed) for packed in experts_of(self))
    outputs = self._modules[EXPERTS].outputs
    apply_gate = getattr(self, "_apply_gate", None)
    result = torch.zeros_like(states, dtype=torch.promote_types(states.dtype, weights.dtype))
    for expert, rows, share in _chosen(index, weights):
        chosen = states[rows]
        if expert < len(self.down_proj):
            routed = Routed(states, rows)
            inner = first(expert, chosen, routed)
            if "gate_up_proj" not in self._parameters:
                inner = self.act_fn(inner)
            elif apply_gate is not None:
                inner = apply_gate(inner)
            else:
                gate, up = inner.chunk(2, dim=-1)
                inner = self.act_fn(gate) * up
            chosen = down(expert, inner, routed)
            if getattr(self, "has_post_expert_norm", False):
                chosen = self.post_expert_norm(chosen)
            chosen = outputs(chosen, expert, share, routed)
        elif not hasattr(self, "identity_expert"):
            continue  # the place of a token that goes nowhere
        result.index_add_(0, rows, (chosen * share[:, None]).to(result.dtype))
    return result.to(states.dtype)


def _chosen(index: Tensor, weights: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Every expert that was chosen, the tokens that chose it, and its weights for them."""
    top = index.shape[-1]
    order = index.flatten().argsort(stable=True)
    shares = weights.reshape(-1)
    experts, counts = torch.unique(index, return_counts=True)
    for expert, places in zip(experts.tolist(), torch.split(order, counts.tolist()), strict=True):
        yield expert, places // top, shares[places]


# -- Llama 4: every expert is handed all tokens, scaled by their scores: zero where not chosen --


def _is_scaled(module: nn.Module) -> bool:
    names = list(inspect.signature(type(module).forward).parameters)
    return names == ["self", "hidden_states"] and _packs(module, "gate_up_proj", "down_proj")


def _scale(self: Any, hidden_states: Tensor) -> Tensor:
    """Down(up * activation(gate)) of the tokens of each expert, one expert after the other."""
    first, down = (_multiplier(self, packed) for packed in experts_of(self))
    outputs = self._modules[EXPERTS].outputs
    found = []
    for expert, states in enumerate(hidden_states.chunk(len(self.down_proj))):
        rows = (states != 0).any(-1).nonzero().flatten()
        routed = Routed(states, rows)
        gate, up = first(expert, states[rows], routed).chunk(2, dim=-1)
        inner = outputs(down(expert, up * self.act_fn(gate), routed), expert, None, routed)
        found.append(inner.new_zeros(states.shape).index_copy(0, rows, inner))
    return torch.cat(found)


# -- Inkling: a few experts that see every token, each with a weight --


def _is_shared(module: nn.Module) -> bool:
    names = list(inspect.signature(type(module).forward).parameters)
    return names == ["self", "hidden_states", "gammas"] and _packs(
        module, "gate_proj", "up_proj", "down_proj"
    )


def _separate(module: Any) -> Iterator[Packed]:
    for name in ("gate_proj", "up_proj", "down_proj"):
        yield _packed(module, name, (name,), transposed=False)


def _share(self: Any, hidden_states: Tensor, gammas: Tensor) -> Tensor:
    """Sum over the experts of down(activation(gate) * up * gamma)."""
    gate, up, down = (_multiplier(self, packed) for packed in experts_of(self))
    states = hidden_states.reshape(-1, hidden_states.shape[-1])
    factors = gammas.reshape(-1, self.n_shared_experts)
    result = torch.zeros_like(states, dtype=torch.float32)
    for expert in range(self.n_shared_experts):
        inner = self.act_fn(gate(expert, states, None)) * up(expert, states, None)
        result = result + down(expert, inner * factors[:, expert, None], None).float()
    return result.to(hidden_states.dtype).view(hidden_states.shape)


# -- DBRX: experts one below the other in two-dimensional parameters of a module below --


def _is_stacked(module: nn.Module) -> bool:
    inner = module._modules.get("mlp")  # noqa: SLF001 - modules raise where they have no such name
    names = {name for name, _ in inner.named_parameters()} if inner is not None else set()
    return names == {"w1", "v1", "w2"} and hasattr(module, "num_experts")


def _stacked(module: Any) -> Iterator[Packed]:
    for name, label in (("w1", "gate_proj"), ("v1", "up_proj"), ("w2", "down_proj")):
        yield _packed(module, name, (label,), transposed=name == "w2", owner="mlp")


def _stack(self: Any, states: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sum over the chosen experts of weight * down(activation(gate) * up)."""
    gate, up, down = (_multiplier(self, packed) for packed in experts_of(self))
    outputs = self._modules[EXPERTS].outputs
    tokens = states.reshape(-1, states.shape[-1])
    result = torch.zeros_like(tokens)
    for expert, rows, share in _chosen(index, weights):
        routed, chosen = Routed(tokens, rows), tokens[rows]
        inner = self.mlp.activation_fn(gate(expert, chosen, routed)) * up(expert, chosen, routed)
        inner = outputs(down(expert, inner, routed), expert, share, routed)
        result.index_add_(0, rows, (inner * share[:, None]).to(result.dtype))
    return result.view(len(states), -1, states.shape[-1])


# -- JetMoE: one projection of all experts, handed tokens in the order of the experts --


def _is_sorted(module: nn.Module) -> bool:
    names = list(inspect.signature(type(module).forward).parameters)
    return names == ["self", "inputs", "expert_size"] and _packs(module, "weight")


def _single(module: Any) -> Iterator[Packed]:
    yield _packed(module, "weight", ("weight",), transposed=False)


def _sort(self: Any, inputs: Tensor, expert_size: Any) -> Tensor:
    """Products of each expert's tokens, one expert after the other."""
    (packed,) = experts_of(self)
    product = _multiplier(self, packed)
    parts = enumerate(torch.split(inputs, expert_size, dim=0))
    return torch.cat([product(expert, states, None) for expert, states in parts])


_Kind = tuple[
    Callable[[nn.Module], bool],
    Callable[[Any], Iterator[Packed]],
    Callable[..., Tensor],
]
_KINDS: tuple[_Kind, ...] = (
    (_is_routed, _gated, _route),
    (_is_scaled, _gated, _scale),
    (_is_shared, _separate, _share),
    (_is_stacked, _stacked, _stack),
    (_is_sorted, _single, _sort),
)
_SHOWN = {_route, _scale, _stack}
