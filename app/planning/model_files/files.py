"""A model's files: where they lie, which of them are the model, and what config.json says.

Weights are the files that transformers loads: `model.safetensors`, else the shards that
`model.safetensors.index.json` names. Other copies, formats and adapters beside them are not read.
The list is the same for plans, downloads, jobs and exports.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import (
    ModelFilesError,
    ModelLoadError,
    ModelNotFoundError,
    ModelPathError,
    ModelSourceError,
    UnsafeWeightsError,
)
from app.planning.model_files.headers import POINTER, StoredTensor, is_pointer
from app.recipes.routing_report import ROUTER_CONFIG_FILE, ROUTING_REPORT_FILE

Stored = TypeVar("Stored", bound=StoredTensor)

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CARD_FILE = "README.md"  # tells the licence; an export has a card of its own
SUFFIX = ".safetensors"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MAX_INDEX = 16 << 20  # bytes
MOST_TENSORS = 300_000
_MAX_SHARDS = 2000
# Config, tokenizer, processor, generation config, chat templates, licences. Never pickles,
# training state, code or hidden files.
_SUFFIXES = (".json", ".txt", ".model", ".spm", ".codes", ".bpe", ".vocab", ".jinja", ".tiktoken")
_NAMES = {"LICENSE", "NOTICE", "LICENSE.md"}
# Of a training; of a router, which is of use to the model alone that it was trained for.
_LEFT_OUT = {
    *("trainer_state.json", "training_args.json", "adapter_config.json"),
    # What an earlier job wrote beside its result; each job writes its own.
    *("manifest.json", "bom.cdx.json", "pruning_report.json"),
    *(ROUTER_CONFIG_FILE, ROUTING_REPORT_FILE),
}
# Folders beside the weights: chat templates; pooling and dense layers of sentence-transformers.
_FOLDERS = ("additional_chat_templates/*.jinja", "[0-9]_*/*.json", f"[0-9]_*/*{SUFFIX}")


_HUB = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?)"
    r"(?:@(?P<revision>[\w][\w./-]{0,127}))?"
)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the Hugging Face Hub at a branch, tag or commit."""

    repo_id: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A directory on the service's machines; relative paths are looked up in each allowed root."""

    path: str


ModelSource = HubModel | LocalModel


def parse_model_source(text: str) -> ModelSource:
    """Read a job's `model`.

    Raises:
        ModelSourceError: neither form fits.
    """
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None or ".." in text:
            raise ModelSourceError(f"{text!r} is not hf:organisation/name or hf:...@revision")
        return HubModel(match["repo"], match["revision"] or "main")
    if not text.strip() or "\0" in text or ":" in text.split("/", 1)[0]:
        raise ModelSourceError(f"{text!r} is neither a path nor hf:organisation/name@revision")
    return LocalModel(text)


def companions(names: Collection[str]) -> list[str]:
    """Those of a repository's files that belong to the model beside its weights, in order.

    Args:
        names: paths of all files, with forward slashes.
    """
    return sorted(name for name in names if _is_companion(name, names))


def _is_companion(name: str, names: Collection[str]) -> bool:
    if "/" in name:
        # A pattern's `*` stands for slashes too; these folders have no folders.
        return name.count("/") == 1 and any(fnmatchcase(name, folder) for folder in _FOLDERS)
    if name.endswith(".index.json"):  # of pickles, or beside a single file
        return name == INDEX_FILE and SINGLE_FILE not in names
    known = name in _NAMES or PurePosixPath(name).suffix in _SUFFIXES
    return known and not name.startswith(".") and name not in _LEFT_OUT


def entry_file(names: Collection[str], named: str) -> str:
    """The file that loading begins with: the only one of the weights, or the index of several.

    Args:
        names: of a repository's files.
        named: what the client calls it, for the message.

    Raises:
        UnsafeWeightsError: the weights are pickled only.
        ModelFilesError: config.json or the weights are missing.
    """
    found = next((name for name in (SINGLE_FILE, INDEX_FILE) if name in names), None)
    if found is None:
        if any(map(is_pickled, names)) and not any(name.endswith(SUFFIX) for name in names):
            raise UnsafeWeightsError(
                f"{named!r} has pickled weights only, which can run code when loaded; "
                "save the model again with safetensors"
            )
        raise ModelFilesError(f"{named!r} has no *{SUFFIX} file that loads: {_looked_for(names)}")
    if CONFIG_FILE not in names:
        raise ModelFilesError(f"{named!r} has no {CONFIG_FILE}")
    return found


def _looked_for(names: Collection[str]) -> str:
    if "adapter_config.json" in names:
        return "it is an adapter; merge it into its base model first"
    if any(name.endswith(".gguf") for name in names):
        return "GGUF files are quantised; prune the checkpoint they were made from"
    if any(name.endswith((".h5", ".msgpack", ".onnx", ".tflite")) for name in names):
        return "it is saved for another framework; save it with transformers and safetensors"
    return f"neither {SINGLE_FILE} nor {INDEX_FILE}"


def is_pickled(name: str) -> bool:
    """Whether a file of this name holds pickled weights, as far as names tell."""
    return name.endswith(PICKLED)


def parse_index(content: bytes) -> dict[str, str]:
    """File of every tensor, by the tensor's name.

    Raises:
        ModelLoadError: the index is none, or names files that cannot be shards.
    """
    try:
        found = parse_object(content, JsonLimits(MAX_INDEX, depth=8, values=1 << 20))
    except JsonError as error:
        raise ModelLoadError(f"{INDEX_FILE} cannot be read: {error}. Fetch it again.") from error
    places = found.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelLoadError(f"{INDEX_FILE} has no weight_map; save the checkpoint again.")
    shards = set(filter(_is_shard, places.values()))
    if odd := [name for name, file in places.items() if not _is_shard(file)]:
        raise ModelLoadError(f"{INDEX_FILE} gives {odd[0][:100]!r} no *{SUFFIX} file beside it.")
    if len(shards) > _MAX_SHARDS:
        raise ModelLoadError(f"{INDEX_FILE} names {len(shards)} files; {_MAX_SHARDS} are accepted.")
    return places


def _is_shard(file: object) -> bool:
    plain = isinstance(file, str) and file.endswith(SUFFIX) and not {"/", "\\", "\0"} & set(file)
    return plain and not str(file).startswith(".")


def select(places: Mapping[str, str], headers: Iterable[Mapping[str, Stored]]) -> dict[str, Stored]:
    """The tensors that an index names, in its order.

    Args:
        places: the index.
        headers: of its files.

    Raises:
        ModelLoadError: the files lack a tensor, or hold more than an installation takes.
    """
    found: dict[str, Stored] = {}
    for header in headers:
        found |= {key: tensor for key, tensor in header.items() if key in places}
        if len(found) > MOST_TENSORS:
            raise ModelLoadError(f"the checkpoint has more than {MOST_TENSORS} tensors")
    if absent := [key for key in places if key not in found]:
        raise ModelLoadError(
            f"{INDEX_FILE} lists tensors that its files do not hold: {', '.join(absent[:5])}. "
            "Fetch the checkpoint again."
        )
    return {key: found[key] for key in places}


MAX_CONFIG = 4 << 20  # bytes; with names for 21,000 classes it has one
MOST_FILES = 20_000
_TOLD, _SOUGHT = 10, 1000  # models that a message names, and that are looked for


Entries: TypeAlias = Sequence[os.DirEntry[str]]


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
    found, entries = locate(path, roots)
    with _readable(path):
        entry_file(_files(found, entries), path)
    return found


def locate(path: str, roots: Sequence[Path]) -> tuple[Path, Entries]:
    """The same directory, whatever lies in it and in its folders, and all of that.

    Raises:
        ModelPathError: as for `resolve_local_model`.
        ModelNotFoundError: no directory is there.
    """
    if ".." in path.split("/"):
        raise ModelPathError(f"{path!r} has '..'; name the directory itself")
    with _readable(path):
        return _directory(path, roots)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # names too long, links in a circle
        raise ModelPathError(f"{path!r} is not a path that can be read") from error


def _directory(path: str, roots: Sequence[Path]) -> tuple[Path, Entries]:
    """The directory and what lies in it."""
    candidates = [os.path.realpath(os.path.join(root, path)) for root in roots]  # noqa: PTH118  as texts
    inside = [candidate for candidate in candidates if _is_under(candidate, roots)]
    if not inside:
        raise ModelPathError(
            f"{path!r} is not under a directory that models may come from; {_known('', roots)}"
        )
    # Path.is_dir would raise where a name is longer than the file system takes.
    place = next((each for each in inside if os.path.isdir(each)), None)  # noqa: PTH112  see above
    if place is None:
        raise ModelNotFoundError(f"there is no model {path!r}; {_known(path, roots)}")
    found = Path(place)
    entries = _entries(found)
    for entry in entries:
        if entry.is_symlink() and not _is_under(str(Path(entry.path).resolve()), roots):
            raise ModelPathError(
                f"{entry.name} in {path!r} is a link to where models may not come from"
            )
    return found, entries


def _known(path: str, roots: Sequence[Path]) -> str:
    """Which models there are, those of a similar name first."""
    names = local_models(roots)
    organisation, slash, _ = path.partition("/")
    if slash and organisation not in names and _HUB.fullmatch(f"hf:{path}"):
        return f"one of the Hugging Face Hub is named 'hf:{path}'"
    if not names:
        return "the directories that models may come from hold none"
    near = get_close_matches(path, names, n=1, cutoff=0.5)
    told = [*near, *(name for name in names if name not in near)]
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}there are {', '.join(told[:_TOLD])}{more}"


def local_models(roots: Sequence[Path]) -> list[str]:
    """Directories with a configuration, in a root or one below it (organisation/name), by name."""
    allowed = [root.resolve() for root in roots]
    return sorted(
        {
            file.parent.relative_to(root).as_posix()
            for root in allowed
            for place in ("*", "*/*")
            for file in islice(root.glob(f"{place}/{CONFIG_FILE}"), _SOUGHT)
            if _is_under(str(file.resolve()), allowed)
        }
    )


def _is_under(path: str, roots: Sequence[Path]) -> bool:
    """Whether a path without links lies in one of the roots; they may have links in theirs.

    What begins with a root as it is given shows that this one has none, and is not looked up.
    """
    return any(_begins(path, str(root)) or _begins(path, os.path.realpath(root)) for root in roots)


def _begins(path: str, root: str) -> bool:
    return path == root or path.startswith(os.path.join(root, ""))  # noqa: PTH118  as texts


def file_names(directory: Path) -> set[str]:
    """Relative paths of the files in a directory and in its folders; what is deeper is no model's.

    Raises:
        ModelFilesError: there are more than a model has.
        OSError: the directory cannot be read.
    """
    return _files(directory, _entries(directory))


State = frozenset[tuple[str, int, int, int]]


def state_of(entries: Entries) -> tuple[State, float]:
    """What changes once a file of a directory does: names, inodes, sizes and times.

    Returns:
        The state, and when a file was last changed, in seconds since 1970.

    Raises:
        OSError: a file cannot be looked at.
    """
    found = {entry.path: _stat(entry) for entry in entries}
    state = frozenset((p, at.st_ino, at.st_size, at.st_mtime_ns) for p, at in found.items())
    return state, max((at.st_ctime for at in found.values()), default=0.0)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except FileNotFoundError:  # of a link that leads nowhere, what it says
        return entry.stat(follow_symlinks=False)


def _files(directory: Path, entries: Iterable[os.DirEntry[str]]) -> set[str]:
    prefix = f"{directory}{os.sep}"
    return {entry.path.removeprefix(prefix) for entry in entries if entry.is_file()}


def _entries(directory: Path) -> Entries:
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


_MOST = 1 << 31


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part such as `text_config`; the whole where it has none of that name."""
    found = config.get(name)
    return found if isinstance(found, dict) else config


def number(config: Mapping[str, Any], name: str, most: int = _MOST) -> int:
    """A positive integer up to `most`; 0 where the entry is missing or something else."""
    value = config.get(name)
    return value if type(value) is int and 0 < value <= most else 0


_IMAGE_TOKENS, _IMAGE_SIDE = 1024, 448  # where it does not say: images of any size


def image_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens and values of an image."""
    vision = section(config, "vision_config")
    side, patch = number(vision, "image_size"), number(vision, "patch_size")
    if side and patch:
        return (side // patch) ** 2, 3 * side**2
    if patch or "vision_config" in config:
        return _IMAGE_TOKENS, 3 * _IMAGE_SIDE**2
    return 0, 0


def architecture(config: Mapping[str, Any]) -> str:
    """The model's class; empty where the configuration names none."""
    found = config.get("architectures")
    first = found[0] if isinstance(found, list) and found else ""
    return first if isinstance(first, str) else ""


_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "vocab.json")
_PROCESSOR = ("preprocessor_config.json", "tokenizer.model", "spiece.model")
_SEEN = 256  # bytes of each end


def why_unreadable(directory: Path) -> str:
    """Which tokenizer or processor file is none, and what to do; empty where all may be read."""
    for name in (*_TOKENIZER, *_PROCESSOR):
        file = directory / name
        if file.is_file() and (reason := _reason(file)):
            return (
                f"the model's {name} cannot be read: {reason}; fetch it again, or choose a method "
                "that needs no calibration data"
            )
    return ""


def _reason(file: Path) -> str | None:
    """What is wrong with a file, as far as its two ends tell; None where nothing is."""
    with file.open("rb") as stream:
        head = stream.read(_SEEN)
        stream.seek(max(0, file.stat().st_size - _SEEN))
        tail = stream.read(_SEEN)
    if not head.strip():
        return "it is empty"
    if is_pointer(head):
        return POINTER
    if file.suffix == ".json" and (head.strip()[:1], tail.strip()[-1:]) != (b"{", b"}"):
        return "it is no JSON object, or cut off"
    return None


def check_number(matrices: int) -> None:
    """Refuse a checkpoint whose header says that it packs more matrices than any model has.

    Raises:
        ModelLoadError: there are more.
    """
    if matrices > MOST_TENSORS:
        raise ModelLoadError(f"the checkpoint has more than {MOST_TENSORS} matrices")
