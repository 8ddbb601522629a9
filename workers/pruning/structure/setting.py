"""The number of config.json that says how large a part of the model is, found by trying.

A model of the changed configuration is built without weights. The number is the right one where
the shapes that change are those of the part, and what they change to is what is left of it.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from transformers import PreTrainedModel

from workers.pruning.memory import out_of_memory
from workers.pruning.models.files import without_preferences

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Path: TypeAlias = tuple[str, ...]
_LIKELY = re.compile(r"intermediate|inner|ffn|d_ff|mlp|feed_?forward|ff_dim|hidden_dim")
_NEVER = re.compile(
    r"(^|_)hidden_size$|vocab|_id$|position|num_|_heads|image_size|patch_size|d_model"
)
_RATIO = re.compile(r"ratio|factor|multiplier")
_DEEPEST = 6  # sections in sections


@dataclass(frozen=True, slots=True)
class Setting:
    """A number of the configuration.

    Attributes:
        path: names of its sections and its own.
        value: what it should be.
    """

    path: Path
    value: Any

    def put(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration with the value in its place; sections that are not there are made."""
        changed = copy.deepcopy(dict(config))
        section = changed
        for name in self.path[:-1]:
            section = section.setdefault(name, {})
        section[self.path[-1]] = self.value
        return changed

    def __str__(self) -> str:
        """As a path."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of the configuration that say it together; the first one names them."""

    settings: tuple[Setting, ...]

    def put(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration with the values in their places."""
        changed = dict(config)
        for each in self.settings:
            changed = each.put(changed)
        return changed

    def __str__(self) -> str:
        """As a path."""
        return str(self.settings[0])


class Trials:
    """Models of changed configurations, by the shapes of their parameters.

    Attributes:
        model: as it is.
        config: of config.json.
        whole: the same with every default.
        own: shapes of the parameters of the model itself, and of the buffers that its files hold.
    """

    def __init__(self, model: PreTrainedModel, config: Mapping[str, Any]) -> None:
        """Take the model and its config.json."""
        self.model = model
        self._class: Any = type(model)
        self.whole: dict[str, Any] = model.config.to_dict()
        self.config = dict(config)
        self.own = self.shapes(self.config)

    def shapes(self, config: Mapping[str, Any]) -> Shapes:
        """Of what the files of such a model hold; nothing of it is in memory."""
        plain = json.loads(json.dumps(without_preferences(dict(config))))
        kind = self._class.config_class
        made = kind.from_dict(kind._decode_special_floats(plain))  # noqa: SLF001 - as it reads files
        with torch.device("meta"):
            model = self._class(made)
        kept = model.state_dict().keys()
        found = [*model.named_parameters(), *model.named_buffers()]
        return {name: tuple(value.shape) for name, value in found if name in kept}

    def tried(self, config: Mapping[str, Any]) -> Shapes | None:
        """The same; None where transformers makes no model of it."""
        try:
            return self.shapes(config)
        except Exception as error:  # whatever a foreign class makes of it
            if out_of_memory(error):
                raise
            return None

    def changes(self, setting: Setting | Settings) -> Shapes | None:
        """Parameters whose shape the setting changes, with the new one; None where it fits none."""
        found = self.tried(setting.put(self.config))
        if found is None or found.keys() != self.own.keys():
            return None
        return {name: shape for name, shape in found.items() if shape != self.own[name]}

    def candidates(self, width: int, kept: int, hidden: int) -> list[Setting]:
        """Numbers that may say that there are `width` channels, the likeliest first."""
        found: dict[Path, Setting] = {}
        for path, value in leaves(self.config, self.whole):
            name = path[-1]
            if _NEVER.search(name) and not _LIKELY.search(name):
                continue
            by_default = value is None and _LIKELY.search(name)
            if by_default or (type(value) is int and value == width):
                found.setdefault(path, Setting(path, kept))
            elif type(value) in {int, float} and _RATIO.search(name) and value * hidden == width:
                found.setdefault(path, Setting(path, _ratio(kept, hidden)))
        return sorted(found.values(), key=lambda each: not _LIKELY.search(each.path[-1]))


def _ratio(kept: int, hidden: int) -> float:
    """What gives `kept` when it is multiplied and rounded down, or not rounded at all."""
    if kept % hidden == 0:
        return kept // hidden
    exact = kept / hidden
    return exact if int(exact * hidden) == kept else (kept + 0.5) / hidden


def leaves(*configs: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every entry of the configurations and of their sections, with its path."""
    for config in configs:
        yield from _leaves(config, ())


def _leaves(config: Mapping[str, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and len(above) < _DEEPEST:
            yield from _leaves(value, (*above, str(name)))
        else:
            yield (*above, str(name)), value
