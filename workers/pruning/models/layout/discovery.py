"""Find the block stacks of a model and the weight matrices inside a module."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.recipes.modality import Modality
from app.recipes.pattern import FEWEST_INPUTS
from workers.pruning.memory import stored
from workers.pruning.models.conversions import Assembled
from workers.pruning.models.files import FileKeys
from workers.pruning.models.layout.experts import EXPERTS, experts_of
from workers.pruning.models.layout.structure import WHOLE, Matrix, View

# Fused projections whose rows are all queries, then all keys, then all values. Others interleave
# them per head (GPT-NeoX, BLOOM) or by unequal sizes (Phi-3) and stay one matrix.
_THIRDS = {"qkv", "c_attn", "in_proj_weight", "Wqkv"}
_PARTS = ("q", "k", "v")

# Modules whose weights are matrices, or are never pruned.
_KNOWN = (
    nn.Linear,
    Conv1D,
    nn.MultiheadAttention,
    nn.Embedding,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.LayerNorm,
)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A ModuleList of transformer blocks."""

    name: str
    blocks: tuple[tuple[str, nn.Module], ...]


def stack_of(name: str, module: nn.Module) -> Stack:
    """The entries of a ModuleList (nested lists flattened), or one module as a single block."""
    if not isinstance(module, nn.ModuleList):
        return Stack(name, ((name, module),))
    entries = [stack_of(f"{name}.{key}", entry) for key, entry in module.named_children()]
    return Stack(name, tuple(block for entry in entries for block in entry.blocks))


def find_stacks(model: nn.Module) -> list[Stack]:
    """Outermost ModuleLists of composite modules with matrices inside, heads excepted.

    Lists inside a block (attention + feed-forward of T5, experts) belong to the block.
    """
    stacks: list[Stack] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{stack.name}.") for stack in stacks):
            continue
        if isinstance(module, nn.ModuleList) and _is_stack(module) and "head" not in name:
            stacks.append(stack_of(name, module))
    return stacks


def _is_stack(modules: nn.ModuleList) -> bool:
    composite = all(any(module.children()) and _runs(module) for module in modules)
    return composite and any(any(_weights(module)) for module in modules)


def _runs(module: nn.Module) -> bool:
    """Whether it is called itself, rather than a mere holder whose parts its owner calls."""
    return isinstance(module, nn.ModuleList) or type(module).forward is not nn.Module.forward


def unread_weights(module: nn.Module) -> Iterator[str]:
    """Names of weights below `module` that no MatrixFinder finds: packed experts and the like."""
    found = {id(weight.parameter) for weight in _weights(module)}
    for path, child in module.named_modules():
        if isinstance(child, _KNOWN):
            continue
        for name, parameter in child.named_parameters(recurse=False):
            matrix = parameter.ndim > 1 and min(parameter.shape[-2:]) > 1
            if matrix and id(stored(parameter)) not in found:
                yield f"{path}.{name}"


@dataclass(frozen=True, slots=True, eq=False)
class _Weight:
    """A matrix inside a module: path below it, parameter, calling module, place there."""

    path: str
    shown: nn.Parameter
    caller: nn.Module | None
    place: View = WHOLE

    @property
    def parameter(self) -> nn.Parameter:
        """The stored one."""
        return cast("nn.Parameter", stored(self.shown))

    @property
    def key(self) -> tuple[int, str]:
        """The same for all that are one and the same matrix."""
        return self.parameter.data_ptr(), f"{self.place.expert}{self.place.rows}"


def _is_matrix(weight: Tensor, *, transposed: bool) -> bool:
    return weight.ndim == 2 and weight.shape[not transposed] >= FEWEST_INPUTS  # noqa: PLR2004 (rows and columns)


def _weights(module: nn.Module) -> Iterator[_Weight]:
    """Weights of Linear, Conv1D, packed MultiheadAttention and experts at or below `module`."""
    packed: list[str] = []
    for path, child in module.named_modules(remove_duplicate=False):
        inside = any(path.startswith(f"{outer}.") or not outer for outer in packed)
        prefix = f"{path}." if path else ""
        if isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
            packed.append(path)
            yield _Weight(f"{prefix}in_proj_weight", child.in_proj_weight, None)
        elif isinstance(child, nn.Linear | Conv1D) and _is_matrix(
            child.weight, transposed=isinstance(child, Conv1D)
        ):
            caller = None if inside else child  # packed attention reads the weight itself
            place = View(transposed=isinstance(child, Conv1D))
            yield _Weight(path, cast("nn.Parameter", child.weight), caller, place)
        for experts in experts_of(child) if EXPERTS in child._modules else ():  # noqa: SLF001 - modules raise where they have none
            owner = child.get_submodule(experts.owner)
            weight = cast("nn.Parameter", getattr(owner, experts.attribute))
            for name, place, projection in experts.matrices():
                yield _Weight(f"{prefix}{name}", weight, projection, place)


class MatrixFinder:
    """Turns the weights below a module into matrices, ties and file keys resolved.

    Ties are found by storage over the whole model: one matrix, all its callers. It is reported
    where it is met first.

    Attributes:
        dense: names of parameters that cannot be written back to the files.
    """

    def __init__(self, model: nn.Module, file_keys: FileKeys, *, split_qkv: bool) -> None:
        self._file_keys = file_keys
        self._split_qkv = split_qkv
        self.dense: dict[str, None] = {}  # in order, each once
        self._seen: set[tuple[int, str]] = set()
        self._names: dict[int, list[str]] = defaultdict(list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._names[stored(parameter).data_ptr()].append(name)
        self._callers: dict[tuple[int, str], dict[int, nn.Module]] = defaultdict(dict)
        self._embeddings: set[int] = set()
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                self._embeddings.add(stored(module.weight).data_ptr())
        for weight in _weights(model):
            if weight.caller is not None:
                self._callers[weight.key][id(weight.caller)] = weight.caller

    def find(self, path: str, module: nn.Module, modality: Modality) -> tuple[Matrix, ...]:
        """Matrices of `module` at `path` that no earlier call has returned."""
        found: list[Matrix] = []
        for weight in _weights(module):
            storage = weight.parameter.data_ptr()
            if weight.key in self._seen or storage in self._embeddings:
                continue
            self._seen.add(weight.key)
            name = ".".join(filter(None, (path, weight.path)))
            found += self._matrices(name, modality, weight)
        return tuple(found)

    def _matrices(self, name: str, modality: Modality, weight: _Weight) -> Iterator[Matrix]:
        callers = tuple(self._callers[weight.key].values())
        for suffix, place in self._parts(name, weight):
            known = partial(
                Matrix,
                modality=modality,
                parameter=weight.parameter,
                shown=weight.shown if weight.shown is not weight.parameter else None,
                callers=callers,
            )
            if isinstance(weight.parameter, Assembled):
                yield from _from_files(known, name + suffix, weight.parameter, place)
                continue
            names = self._names[weight.parameter.data_ptr()]
            places = self._file_keys.of(tuple(names))
            if not places:
                self.dense[names[0]] = None
                return
            yield known(
                name=name + suffix,
                file_key=places[0].key,
                place=place,
                file_row=places[0].row,
                copies=tuple(each.key for each in places[1:]),
            )

    def _parts(self, name: str, weight: _Weight) -> list[tuple[str, View]]:
        """Suffix and place of the matrices that a weight is seen as."""
        rows, columns = weight.parameter.shape[-2:]
        if weight.place.transposed:
            rows, columns = columns, rows
        fused = name.rpartition(".")[2] in _THIRDS and rows == len(_PARTS) * columns
        if not self._split_qkv or not fused:
            return [("", weight.place)]
        thirds = [slice(i * columns, (i + 1) * columns) for i in range(len(_PARTS))]
        return [
            (f"[{part}]", View(transposed=weight.place.transposed, rows=third))
            for part, third in zip(_PARTS, thirds, strict=True)
        ]


def _from_files(
    known: Callable[..., Matrix], name: str, parameter: Assembled, place: View
) -> Iterator[Matrix]:
    """The matrices of a parameter that is put together from tensors of the files: one from each."""
    parts = parameter.matrices(place)
    for unit, source, inside in parts:
        suffix = f"[{unit.key.removesuffix('.weight').rpartition('.')[2]}]" if parts[1:] else ""
        yield known(
            name=name + suffix,
            file_key=unit.key,
            place=inside,
            source=(unit.tensor, source),
        )
