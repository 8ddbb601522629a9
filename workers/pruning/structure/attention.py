"""The attention of the blocks of a tower, by its key-value groups, and what of it is whose.

Found by trying, as everything that a configuration counts: a model of fewer heads and the same
`head_dim` is built without weights, and what changes its shape holds something of every group, one
after the other; a projection of queries, keys and values in one does so in three sections.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.planning.heads import Heads, heads_kept, heads_of
from app.recipes.structure import ConfigurationError, NormError, Width, WiringError
from workers.pruning.memory import fetched
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.structure.setting import Setting, Settings, Shapes, Trials, leaves

_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True)
class Piece:
    """A parameter that holds something of every group.

    Attributes:
        path: of its module.
        module: that module.
        attribute: its name there.
        dimension: along which it does.
        sections: sizes of the parts along that dimension, each with something of every group.
    """

    path: str
    module: nn.Module
    attribute: str
    dimension: int
    sections: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """The attention of one block; in the place of an `Mlp`, its channels those of all heads.

    Attributes:
        name: path of the projection that reads the heads.
        reader: that projection.
        pieces: what makes them.
        width: inputs of the reader.
        unit: those of one key-value group, which stay together or go.
    """

    name: str
    reader: nn.Module
    pieces: tuple[Piece, ...]
    width: int
    unit: int

    def made_by(self) -> Tensor:
        """Sum of squares of the weights of each group, spread over its inputs; (width,) float32."""
        groups = self.width // self.unit
        found = torch.zeros(groups)
        for piece in self.pieces:
            shown: Any = getattr(piece.module, piece.attribute)
            if shown.ndim < _MATRIX:
                continue
            values = fetched(shown).detach().float().square().sum(1 - piece.dimension)
            found = found.to(values.device)
            for part in torch.split(values, list(piece.sections)):
                found = found + part.view(groups, -1).sum(1)
        return (found / self.unit).repeat_interleave(self.unit)

    def cuts(self, kept: Tensor) -> Iterator[tuple[str, nn.Module, str, int, Tensor]]:
        """What of each parameter stays: module's path, module, attribute, dimension, indices."""
        groups = kept[:: self.unit] // self.unit
        for piece in self.pieces:
            begin, rows = 0, []
            for size in piece.sections:
                each = size * self.unit // self.width
                rows.append(begin + (groups[:, None] * each + torch.arange(each)).flatten())
                begin += size
            yield piece.path, piece.module, piece.attribute, piece.dimension, torch.cat(rows)
        yield self.name, self.reader, "weight", int(not isinstance(self.reader, Conv1D)), kept


def find_attentions(
    trials: Trials, tower: Tower, settings: Width
) -> tuple[dict[Block, Attention], int, Settings]:
    """The attentions of a tower, inputs of their readers that stay, and what says so.

    Raises:
        NothingLeftError: no group would go, or none stay.
        ConfigurationError: no numbers say how many heads there are, and nothing else.
    """
    share = settings.heads_of(tower.modality)
    tried: list[str] = []
    for section, heads in _counted(trials):
        groups = heads.groups
        # Some configurations take no number of heads that does not divide the hidden size.
        tries = (max(1, groups - 1), 1)
        probe = next(
            filter(None, (trials.changes(_setting(section, heads, n)) for n in tries)), None
        )
        if not probe or not _inside(probe, tower):
            continue
        kept = heads_kept(heads, share, tower.name)
        setting = _setting(section, heads, kept)
        changes = trials.changes(setting) or {}
        if strange := next((name for name in changes if not _of(tower, name)), None):
            tried.append(f"{setting} changes {strange} too")
            continue
        found = {}
        for block in tower.blocks:
            own = {n: s for n, s in changes.items() if n.startswith(f"{block.name}.")}
            if own:
                found[block] = _attention(trials, own, heads)
                _check_norms(trials, found[block], heads)
        if not found:
            tried.append(f"no model can be built with {setting}")
            continue
        return found, kept * heads.count // groups * heads.width, setting
    said = f"; {tried[0]}" if tried else ""
    raise ConfigurationError(
        f"{tower.name}: no numbers of config.json say how many heads its attention has and how "
        f"wide a head is, and nothing else{said}; leave heads_removed out for it"
    )


def _counted(trials: Trials) -> Iterator[tuple[tuple[str, ...], Heads]]:
    """Sections of the configuration that count heads."""
    sections = dict.fromkeys(path[:-1] for path, _ in leaves(trials.config, trials.whole))
    for path in sections:
        section: Any = trials.whole
        for name in path:
            section = section.get(name) if isinstance(section, Mapping) else None
        if isinstance(section, Mapping) and (heads := heads_of(section)) is not None:
            yield path, heads


def _setting(section: Sequence[str], heads: Heads, kept: int) -> Settings:
    return Settings(
        tuple(Setting((*section, name), value) for name, value in heads.after(kept).items())
    )


def _inside(changes: Shapes, tower: Tower) -> bool:
    return any(_of(tower, name) for name in changes)


def _of(tower: Tower, name: str) -> bool:
    return any(name.startswith(f"{block.name}.") for block in tower.blocks)


def _attention(trials: Trials, changes: Shapes, heads: Heads) -> Attention:
    """That of one block, whose parameters change so."""
    width = heads.count * heads.width
    readers, others = [], []
    for name, shape in changes.items():
        path, _, attribute = name.rpartition(".")
        module = trials.model.get_submodule(path)
        own = trials.own[name]
        apart = [at for at, (old, new) in enumerate(zip(own, shape, strict=True)) if old != new]
        if len(apart) != 1 or own[apart[0]] % heads.groups:
            raise _strange(name)
        inputs = int(not isinstance(module, Conv1D))
        matrix = attribute == "weight" and len(own) == _MATRIX
        if matrix and apart[0] == inputs:
            readers.append((path, module, own[inputs]))
        else:
            others.append((path, module, attribute, apart[0], own[apart[0]], matrix))
    if len(readers) != 1 or readers[0][2] != width:
        raise _strange(next(iter(changes)))
    fused = sum(matrix for *_, matrix in others) == 1
    sections = (width, heads.groups * heads.width, heads.groups * heads.width)
    pieces = []
    for path, module, attribute, dimension, size, _ in others:
        parts = sections if fused and size == sum(sections) else (size,)
        pieces.append(Piece(path, module, attribute, dimension, parts))
    name, reader, _ = readers[0]
    return Attention(name, reader, tuple(pieces), width, width // heads.groups)


def _check_norms(trials: Trials, own: Attention, heads: Heads) -> None:
    """Refuse norms over all heads, beside what makes them: without some, the mean is another one.

    They are looked for by their size, since OLMoE's has that of the hidden states and stays.
    """
    makers = [piece for piece in own.pieces if isinstance(piece.module, nn.Linear | Conv1D)]
    for owner in {piece.path.rpartition(".")[0] for piece in makers}:
        for name, module in trials.model.get_submodule(owner).named_children():
            weight: Any = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and heads.are_normed_by(weight.shape):
                raise NormError(f"{owner}.{name}")


def _strange(name: str) -> WiringError:
    return WiringError(
        f"{name}: how its attention is connected is not understood; leave heads_removed out for it"
    )
