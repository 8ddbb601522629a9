"""The packed form of safetensors files. `unpack.py` travels with the artifacts and stands alone."""

from app.packed.unpack import FOLDER, SUFFIX


def is_packed(path: str) -> bool:
    """Does an artifact's path belong to the packed form of its job?"""
    return path.startswith(f"{FOLDER}/")


def packed_name(path: str) -> str | None:
    """The path of the dense file that a packed file stands for; None for other files."""
    inside = path.removeprefix(f"{FOLDER}/")
    return inside.removesuffix(SUFFIX) if is_packed(path) and inside.endswith(SUFFIX) else None
