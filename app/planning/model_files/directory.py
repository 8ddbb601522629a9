"""Which local directories may be pruned. Looks at names only; nothing of a model is loaded."""

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import ModelFilesError, ModelNotFoundError, ModelPathError
from app.planning.model_files.listing import CONFIG_FILE, entry_file

MAX_CONFIG = 4 << 20  # bytes; with names for 21,000 classes it has one
MOST_FILES = 20_000
_TOLD, _SOUGHT = 10, 1000  # models that a message names, and that are looked for


def resolve_local_model(path: str, roots: Sequence[Path]) -> Path:
    """The directory a job's model path names, symbolic links resolved.

    Args:
        path: absolute, or relative to one of the roots.
        roots: the directories under which models may lie.

    Raises:
        ModelPathError: the path has `..`, cannot be read, or it or a file in it leads outside the
            roots.
        ModelNotFoundError: no directory is there.
        UnsafeWeightsError: its weights are pickled only.
        ModelFilesError: config.json or the safetensors files are missing.
    """
    if ".." in PurePosixPath(path).parts:
        raise ModelPathError(f"{path!r} has '..'; name the directory itself")
    try:
        found = _directory(path, [root.resolve() for root in roots])
        entry_file(file_names(found), path)
    except (OSError, ValueError, RuntimeError) as error:  # names too long, links in a circle
        raise ModelPathError(f"{path!r} is not a path that can be read") from error
    return found


def _directory(path: str, allowed: Sequence[Path]) -> Path:
    candidates = [(root / path).resolve() for root in allowed]
    inside = [candidate for candidate in candidates if _is_under(candidate, allowed)]
    if not inside:
        raise ModelPathError(f"{path!r} is not under a directory that models may come from")
    # Path.is_dir would raise where a name is longer than the file system takes.
    found = next((each for each in inside if os.path.isdir(each)), None)  # noqa: PTH112  see above
    if found is None:
        raise ModelNotFoundError(f"there is no model {path!r}; {_known(path, allowed)}")
    for entry in _entries(found):
        if entry.is_symlink() and not _is_under(Path(entry.path).resolve(), allowed):
            raise ModelPathError(
                f"{entry.name} in {path!r} is a link to where models may not come from"
            )
    return found


def _known(path: str, roots: Sequence[Path]) -> str:
    """Which models there are, those of a similar name first."""
    names = sorted({name for root in roots for name in _models(root, roots)})
    if not names:
        return "the directories that models may come from hold none"
    near = get_close_matches(path, names, n=1, cutoff=0.5)
    told = [*near, *(name for name in names if name not in near)]
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}there are {', '.join(told[:_TOLD])}{more}"


def _models(root: Path, roots: Sequence[Path]) -> Iterator[str]:
    """Directories with a configuration, in the root or one below it (organisation/name)."""
    for place in ("*", "*/*"):
        for file in islice(root.glob(f"{place}/{CONFIG_FILE}"), _SOUGHT):
            if _is_under(file.resolve(), roots):
                yield file.parent.relative_to(root).as_posix()


def _is_under(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def file_names(directory: Path) -> set[str]:
    """Relative paths of the files in a directory and in its folders; what is deeper is no model's.

    Raises:
        ModelFilesError: there are more than a model has.
        OSError: the directory cannot be read.
    """
    return {
        os.path.relpath(entry.path, directory) for entry in _entries(directory) if entry.is_file()
    }


def _entries(directory: Path) -> Sequence[os.DirEntry[str]]:
    """What lies in a directory and in its folders."""
    found: list[os.DirEntry[str]] = []
    with os.scandir(directory) as entries:
        found += islice(entries, MOST_FILES)
    for folder in [entry for entry in found if entry.is_dir()]:
        with os.scandir(folder.path) as entries:
            found += islice(entries, MOST_FILES)
        if len(found) > MOST_FILES:
            break
    if len(found) >= MOST_FILES:
        raise ModelFilesError(f"{directory.name!r} has {MOST_FILES} files or more; no model has")
    return found


def read_config(directory: Path) -> dict[str, Any]:
    """The checkpoint's configuration.

    Raises:
        ModelFilesError: config.json is no JSON object, or larger than any.
    """
    return parse_config(read_file(directory / CONFIG_FILE, MAX_CONFIG))


def parse_config(content: bytes) -> dict[str, Any]:
    """The configuration that a config.json holds.

    Raises:
        ModelFilesError: it is no JSON object, or larger than any.
    """
    try:
        return parse_object(content, JsonLimits(MAX_CONFIG, unique=False))
    except JsonError as error:
        raise ModelFilesError(f"{CONFIG_FILE} cannot be read: {error}") from error


def read_file(file: Path, longest: int) -> bytes:
    """Content of a file; of a longer one, one byte more than `longest`."""
    with file.open("rb") as stream:
        return stream.read(longest + 1)
