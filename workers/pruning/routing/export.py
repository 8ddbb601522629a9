"""A checkpoint without the layers a router ranks lowest: plain `from_pretrained` loads it.

Every image token stays; the layers are gone for every prompt. The form in which ShortGPT (Men et
al., arXiv 2403.03853) delivers its models; which layers go is the router's choice.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from app.errors import ModelLoadError
from app.planning.model_files.files import companions, file_names
from workers.pruning.routing.runtime import Anatomy


def export_static(subject: Anatomy, source: Path, destination: Path, layers: Sequence[int]) -> None:
    """Write the model with these decoder layers only, renumbered.

    The weights are those in memory, in their dtype. Tokenizer, processor and the other files come
    from the source. The model is as before afterwards.

    Args:
        subject: of the loaded model.
        source: directory it was loaded from.
        destination: directory to fill; created if absent.
        layers: indices of the decoder layers that stay, ascending.

    Raises:
        ModelLoadError: the destination is the source.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if destination.resolve() == source.resolve():
        raise ModelLoadError("The exported checkpoint cannot replace its own source directory.")
    for name in companions(file_names(source)):
        if not name.endswith(".index.json"):
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
    with _reduced(subject, list(layers)):
        subject.model.save_pretrained(destination)


@contextmanager
def _reduced(subject: Anatomy, layers: list[int]) -> Iterator[None]:
    """The model has these layers and a config that says so, for the time being."""
    total, text = len(subject.layers), subject.text
    configs = {id(c): c for c in (text.config, subject.model.config.get_text_config())}
    with ExitStack() as undo:
        for config in configs.values():
            for name, value in _reduced_entries(config, layers, total).items():
                undo.callback(setattr, config, name, getattr(config, name))
                setattr(config, name, value)
        undo.callback(setattr, text, "layers", subject.layers)
        text.layers = nn.ModuleList(subject.layers[index] for index in layers)
        yield


def _reduced_entries(config: Any, layers: list[int], total: int) -> dict[str, Any]:
    """The entries that count or list layers, such as `layer_types`."""
    lists = {
        name: [value[index] for index in layers]
        for name, value in config.to_dict().items()
        if "layer" in name and isinstance(value, list) and len(value) == total
    }
    return {"num_hidden_layers": len(layers), **lists}
