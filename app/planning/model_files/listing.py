"""Which files of a repository are the model: one list for plans, downloads, jobs and exports.

Weights are the files that transformers loads: `model.safetensors`, else the shards that
`model.safetensors.index.json` names. Other copies, formats and adapters beside them are not read.
"""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TypeVar

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import ModelFilesError, ModelLoadError, UnsafeWeightsError
from app.planning.model_files.tensors import StoredTensor

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
_LEFT_OUT = {"trainer_state.json", "training_args.json", "adapter_config.json"}
# Folders beside the weights: chat templates; pooling and dense layers of sentence-transformers.
_FOLDERS = ("additional_chat_templates/*.jinja", "[0-9]_*/*.json", f"[0-9]_*/*{SUFFIX}")


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
