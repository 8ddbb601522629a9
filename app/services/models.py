"""Which local directories may be pruned. Looks at names only; nothing of a model is loaded."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from app.domain.errors import (
    ModelFilesError,
    ModelNotFoundError,
    ModelPathError,
    UnsafeWeightsError,
)

PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def resolve_local_model(path: str, roots: Sequence[Path]) -> Path:
    """The directory a job's model path names, symbolic links resolved.

    Args:
        path: absolute, or relative to one of the roots.
        roots: the directories under which models may lie.

    Raises:
        ModelPathError: the path has `..` or leads outside the roots.
        ModelNotFoundError: no directory is there.
        UnsafeWeightsError: its weights are pickled only.
        ModelFilesError: config.json or the safetensors files are missing.
    """
    if ".." in PurePosixPath(path).parts:
        raise ModelPathError(f"{path!r} has '..'; name the directory itself")
    allowed = [root.resolve() for root in roots]
    candidates = [(root / path).resolve() for root in allowed]
    inside = [
        candidate
        for candidate in candidates
        if any(candidate.is_relative_to(root) for root in allowed)
    ]
    if not inside:
        raise ModelPathError(f"{path!r} is not under a directory that models may come from")
    found = next((candidate for candidate in inside if candidate.is_dir()), None)
    if found is None:
        raise ModelNotFoundError(f"there is no model directory {path!r}")
    _check_files(found, path)
    return found


def _check_files(directory: Path, named: str) -> None:
    if not any(directory.glob("*.safetensors")):
        if any(any(directory.glob(pattern)) for pattern in PICKLED):
            raise UnsafeWeightsError(
                f"{named!r} has pickled weights only, which can run code when loaded; "
                "save the model again with safetensors"
            )
        raise ModelFilesError(f"{named!r} has no *.safetensors file")
    if not (directory / "config.json").is_file():
        raise ModelFilesError(f"{named!r} has no config.json")
