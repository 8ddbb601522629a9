"""An artifact on disk: its config, checked, and its router."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from workers.pruning.routing.runtime.anatomy import Anatomy, config_hash
from workers.pruning.routing.runtime.errors import ArtifactError
from workers.pruning.routing.runtime.full import FullRouter
from workers.pruning.routing.runtime.router import Router
from workers.pruning.routing.runtime.slim import SlimRouter

FORMAT = 1
"""Version of `par_config.json`."""


def read_config(directory: Path) -> dict[str, Any]:
    """The artifact's `par_config.json`, after every file it lists was found whole.

    Raises:
        ArtifactError: a missing or damaged file, or another format.
    """
    try:
        config: dict[str, Any] = json.loads((directory / "par_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory} has no readable par_config.json: {error}") from error
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"This runtime reads PAR artifacts of format {FORMAT}, not {config.get('format')!r}."
        )
    for name, facts in config["files"].items():
        path = directory / name
        if not path.is_file():
            raise ArtifactError(f"{name} is missing from {directory}.")
        if path.stat().st_size != facts["size"]:
            raise ArtifactError(f"{name} has {path.stat().st_size} bytes, not {facts['size']}.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            raise ArtifactError(f"{name} is damaged: its SHA-256 differs.")
    return config


def read_router(directory: Path, config: Mapping[str, Any], subject: Anatomy) -> Router:
    """The artifact's router, in evaluation mode, beside the model's embedding.

    Raises:
        ArtifactError: the artifact belongs to another model.
    """
    base = config["base"]
    facts = {"layers": len(subject.layers), "hidden_size": subject.hidden_size}
    for name, value in facts.items():
        if base[name] != value:
            raise ArtifactError(f"The router is for {base[name]} {name}, the model has {value}.")
    if base["config_hash"] != config_hash(subject.model.config):
        raise ArtifactError(
            f"The router was trained for {base['model']}; this model's config differs from it."
        )
    router = build_router(config["router"], subject)
    try:
        router.load_state_dict(load_file(directory / "router.safetensors"))
    except RuntimeError as error:
        raise ArtifactError(f"router.safetensors does not fit par_config.json: {error}") from error
    weight = next(subject.embedding.parameters())
    return router.to(weight.device).eval()


def build_router(shape: Mapping[str, Any], subject: Anatomy) -> Router:
    """A fresh router of the given `Router.shape()`, for the given model."""
    sizes = {name: value for name, value in shape.items() if name != "kind"}
    if shape["kind"] == "full":
        return FullRouter(subject, **sizes)
    return SlimRouter(**{"text_heads": 0, **sizes})  # none in artifacts that do not name them
