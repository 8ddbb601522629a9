"""Which local directories may be pruned. Looks at names only; nothing of a model is loaded."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from app.domain.errors import (
    ModelFilesError,
    ModelNotFoundError,
    ModelPathError,
    UnsafeWeightsError,
)

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def resolve_local_model(path: str, roots: Sequence[Path]) -> Path:
    """The directory a job's model path names, symbolic links resolved.

    Args:
        path: absolute, or relative to one of the roots.
        roots: the directories under which models may lie.

    Raises:
        ModelPathError: the path has `..`, or it or a file in it leads outside the roots.
        ModelNotFoundError: no directory is there.
        UnsafeWeightsError: its weights are pickled only.
        ModelFilesError: config.json or the safetensors files are missing.
    """
    if ".." in PurePosixPath(path).parts:
        raise ModelPathError(f"{path!r} has '..'; name the directory itself")
    allowed = [root.resolve() for root in roots]
    candidates = [(root / path).resolve() for root in allowed]
    inside = [candidate for candidate in candidates if _is_under(candidate, allowed)]
    if not inside:
        raise ModelPathError(f"{path!r} is not under a directory that models may come from")
    found = next((candidate for candidate in inside if candidate.is_dir()), None)
    if found is None:
        raise ModelNotFoundError(f"there is no model directory {path!r}")
    for file in _links(found):
        if not _is_under(file.resolve(), allowed):
            raise ModelPathError(
                f"{file.name} in {path!r} is a link to where models may not come from"
            )
    check_model_files(found, path)
    return found


def _links(directory: Path) -> Iterator[Path]:
    """Symbolic links below a directory; what is no link is where it seems to be."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir():
                yield from _links(Path(entry.path))


def _is_under(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def check_model_files(directory: Path, named: str) -> None:
    """Refuse what cannot be a model we load.

    Args:
        directory: where the files are.
        named: what the client calls it, for the message.

    Raises:
        UnsafeWeightsError: the weights are pickled only.
        ModelFilesError: config.json or the safetensors files are missing.
    """
    names = [file.name for file in directory.iterdir()]
    if not any(name.endswith(".safetensors") for name in names):
        if any(map(is_pickled, names)):
            raise pickles_only(named)
        raise ModelFilesError(f"{named!r} has no *.safetensors file")
    if not (directory / "config.json").is_file():
        raise ModelFilesError(f"{named!r} has no config.json")


def read_config(directory: Path) -> dict[str, Any]:
    """The checkpoint's configuration.

    Raises:
        ModelFilesError: config.json is no JSON object.
    """
    try:
        found = json.loads((directory / "config.json").read_bytes())
    except ValueError as error:
        raise ModelFilesError(f"config.json is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelFilesError("config.json holds no JSON object")
    return found


def is_pickled(name: str) -> bool:
    """Whether a file of this name holds pickled weights, as far as names tell."""
    return name.endswith(PICKLED)


def pickles_only(named: str) -> UnsafeWeightsError:
    """The refusal of a model without safetensors."""
    return UnsafeWeightsError(
        f"{named!r} has pickled weights only, which can run code when loaded; "
        "save the model again with safetensors"
    )
