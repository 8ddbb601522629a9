"""What can be told of a checkpoint without its weights: configuration, names, shapes, types.

Of a model on disk from its files; of one on the hub from the headers of its files, by requests for
a range of bytes. Only the files that a job would load are looked at.
"""

import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from app.errors import HubUnavailableError, ModelFilesError, ModelLoadError, SecateurError
from app.planning.memory import ModelLayout
from app.planning.model_files.files import (
    CONFIG_FILE,
    INDEX_FILE,
    MAX_CONFIG,
    MAX_INDEX,
    SINGLE_FILE,
    SUFFIX,
    HubModel,
    ModelSource,
    State,
    entry_file,
    file_names,
    locate,
    parse_config,
    parse_index,
    read_config,
    read_file,
    resolve_local_model,
    select,
    state_of,
    why_unreadable,
)
from app.planning.model_files.headers import (
    MAX_HEADER,
    PREFIX,
    StoredTensor,
    header_length,
    parse_header,
    read_header,
)
from app.planning.model_files.hub import HubFiles, hub_errors

_FIRST = 100_000  # bytes of a file that are asked for first: most headers are shorter
_KEPT, _FRESH = 64, 60.0  # answers held in memory, and the seconds for which the hub's are
_SETTLED = 2.0  # seconds after which a change to a file has another time than the one before
_KEPT_TENSORS = 400_000  # of all these answers
_AT_ONCE = 8
_ASKING, _ASKING_EACH = 12, 4  # models that the hub is asked for at a time, and those of a project

Headers = Callable[[str], dict[str, StoredTensor]]


@dataclass(frozen=True)
class Outline:
    """A checkpoint without its weights.

    Attributes:
        tensors: those that a job loads, by name.
        config: of config.json.
        unread: files of weights beside them that no job reads.
        unreadable: why jobs that read data cannot use it, a sentence; empty where they can, or
            where its other files were not looked at.
    """

    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]
    unread: tuple[str, ...] = ()
    unreadable: str = ""

    @cached_property
    def layout(self) -> ModelLayout:
        """Its blocks and sizes."""
        return ModelLayout.of(self.tensors, self.config)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An outline, or why there is none, and for how long that counts."""

    found: Outline | SecateurError
    until: float = 0.0
    state: State | None = None


class Outlines:
    """Those of all models that jobs may name."""

    def __init__(
        self, roots: Sequence[Path], hub_endpoint: str, max_header: int = MAX_HEADER
    ) -> None:
        """Look at nothing yet.

        Args:
            roots: directories under which local models may lie.
            hub_endpoint: base URL of the hub.
            max_header: longest header of a file that is accepted, in bytes.
        """
        self.roots = roots
        self._max_header = max_header
        self._hub = HubFiles(hub_endpoint)
        self._known: OrderedDict[HubModel | Path, _Answer] = OrderedDict()
        self._asking = Counter[str]()
        self._lock = threading.Lock()
        self._parsing = threading.Lock()  # one header at a time: parsing takes many times its bytes

    def of(self, source: ModelSource, asker: str) -> Outline:
        """The outline of a model.

        Answers of the hub, refusals too, count for a minute; what is read of files, until one of
        them changes.

        Args:
            source: the model's name.
            asker: whose project wants to know; the hub is asked little at a time for one.

        Raises:
            UserError: the model does not exist, may not be had, or is not one we load.
            HubUnavailableError: the hub does not answer, or has been asked for much already.
        """
        if not isinstance(source, HubModel):
            return self._on_disk(source.path)
        known = self._known_of(source)
        if known is None or time.monotonic() > known.until:
            with self._turn(asker):
                try:
                    found: Outline | SecateurError = self._ask(source)
                except SecateurError as error:
                    found = error
            known = _Answer(found, until=time.monotonic() + _FRESH)
            self._keep(source, known)
        if isinstance(known.found, SecateurError):
            raise type(known.found)(str(known.found))
        return known.found

    @contextmanager
    def _turn(self, asker: str) -> Iterator[None]:
        """Whoever asks a slow hub holds a thread and a connection; nobody waits for that here."""
        with self._lock:
            if self._asking.total() >= _ASKING or self._asking[asker] >= _ASKING_EACH:
                raise HubUnavailableError("the hub is being asked for other models; try again")
            self._asking[asker] += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking[asker] -= 1
                self._asking += Counter()  # without those who ask nothing

    def _known_of(self, source: HubModel | Path) -> _Answer | None:
        with self._lock:
            return self._known.get(source)

    def _keep(self, source: HubModel | Path, answer: _Answer) -> None:
        with self._lock:
            self._known.pop(source, None)
            self._known[source] = answer
            while len(self._known) > _KEPT or self._tensors() > _KEPT_TENSORS:
                self._known.popitem(last=False)

    def _tensors(self) -> int:
        kept = (answer.found for answer in self._known.values())
        return sum(len(found.tensors) for found in kept if isinstance(found, Outline))

    def _on_disk(self, path: str) -> Outline:
        directory, entries = locate(path, self.roots)
        try:
            state, changed_at = state_of(entries)
            known = self._known_of(directory)
            if known is not None and known.state == state and isinstance(known.found, Outline):
                return known.found
            found = self._read(resolve_local_model(path, self.roots))
        except OSError as error:
            raise ModelFilesError(
                f"a file of {directory.name!r} cannot be read: {error.strerror}"
            ) from error
        if changed_at < time.time() - _SETTLED:
            self._keep(directory, _Answer(found, state=state))
        return found

    def _read(self, directory: Path) -> Outline:
        def header(file: str) -> dict[str, StoredTensor]:
            with self._parsing:
                return read_header(directory / file, self._max_header)

        names = file_names(directory)
        index = entry_file(names, directory.name) == INDEX_FILE
        content = read_file(directory / INDEX_FILE, MAX_INDEX) if index else None
        tensors, config = _tensors(names, content, header), read_config(directory)
        check_form(config, tensors)
        return Outline(tensors, config, _unread(names, tensors), why_unreadable(directory))

    def _ask(self, source: HubModel) -> Outline:
        with hub_errors(source):
            at, sizes = self._hub.list(source)
            index = entry_file(sizes, f"hf:{source.repo_id}") == INDEX_FILE
            content = self._hub.read(at, INDEX_FILE, MAX_INDEX + 1).content if index else None
            config = parse_config(self._hub.read(at, CONFIG_FILE, MAX_CONFIG + 1).content)
            tensors = _tensors(sizes, content, partial(self._header, at, sizes))
            check_form(config, tensors)
            return Outline(tensors, config, _unread(sizes, tensors))

    def _header(self, at: HubModel, sizes: Mapping[str, int], file: str) -> dict[str, StoredTensor]:
        part = self._hub.read(at, file, _FIRST)
        length = header_length(part.content[:PREFIX], file, self._max_header)
        content = part.content[PREFIX : PREFIX + length]
        if len(content) < length:
            left = length - len(content)
            content += self._hub.read(at, file, left, PREFIX + len(content)).content
        size = sizes[file] if part.size is None else part.size
        with self._parsing:
            return parse_header(content, length, file, size)


def _tensors(
    names: Collection[str], index: bytes | None, header: Headers
) -> dict[str, StoredTensor]:
    """Tensors that a job loads, from the headers of the files that hold them."""
    if index is None:
        return header(SINGLE_FILE)
    places = parse_index(index)
    shards = sorted(set(places.values()))
    if absent := [shard for shard in shards if shard not in names]:
        raise ModelLoadError(f"{absent[0]} is missing from the checkpoint. Fetch it again.")
    with ThreadPoolExecutor(min(len(shards), _AT_ONCE)) as pool:
        return select(places, pool.map(header, shards))


def _unread(names: Collection[str], tensors: Mapping[str, StoredTensor]) -> tuple[str, ...]:
    read = {tensor.file for tensor in tensors.values()}
    return tuple(sorted(n for n in names if n.endswith(SUFFIX) and "/" not in n and n not in read))


_INSTEAD = (
    "prune the floating-point checkpoint that it was made from, and quantise the result afterwards"
)
_QUANTIZED = (
    (re.compile(r"\.(qweight|qzeros|g_idx)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(absmax|quant_map|nested_absmax|SCB)$|\.quant_state\b"), "bitsandbytes"),
    (
        re.compile(r"\.weight_(packed|shape|zero_point|scale_inv|scale)$"),
        "compressed-tensors or FP8",
    ),
    (re.compile(r"_proj_(blocks|scales)$"), "MXFP4"),
    (re.compile(r"\.weight\.(_data|_scale|_packed)$"), "optimum-quanto"),
)
_LORA = re.compile(r"\.lora_(A|B|embedding_A|embedding_B)\b")
_FLOATS = {"F64", "F32", "F16", "BF16"}
_LONGER_TABLES = {"mllama_text_model", "molmo2_text", "moshi"}  # than vocab_size, by their classes
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|shared)\.weight$")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim")


def check_form(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse a checkpoint whose weights are not plain floating-point matrices of the right size.

    Args:
        config: of config.json.
        tensors: of the files' headers, by name.

    Raises:
        ModelLoadError: the message has the form, a tensor that shows it, and what to do.
    """
    _refuse_said(config)
    for name, tensor in tensors.items():
        if _LORA.search(name):
            raise ModelLoadError(
                f"{name} belongs to a LoRA adapter that was never merged; merge it into its base "
                "model (peft: merge_and_unload) and save that"
            )
        form = next((form for pattern, form in _QUANTIZED if pattern.search(name)), None)
        if form is not None:
            raise ModelLoadError(
                f"the checkpoint is quantised ({form}, as {name} shows); {_INSTEAD}"
            )
        if name.endswith("weight") and len(tensor.shape) > 1 and tensor.dtype not in _FLOATS:
            raise ModelLoadError(
                f"the checkpoint is quantised: {name} is stored as {tensor.dtype}, though "
                f"config.json says nothing of it; {_INSTEAD}"
            )
    _refuse_other_sizes(config, tensors)


def _refuse_said(config: Mapping[str, Any]) -> None:
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for key in ("quantization_config", "compression_config", "quantization"):
        found = next((part[key] for part in parts if part.get(key)), None)
        if found is not None:
            kind = found.get("quant_method") if isinstance(found, dict) else None
            named = f"{key}: {kind}" if isinstance(kind, str) else key
            raise ModelLoadError(f"the checkpoint is quantised ({named}); {_INSTEAD}")


def _refuse_other_sizes(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> None:
    """Of plain language models; composite ones have tables of their own sizes."""
    if "text_config" in config or config.get("model_type") in _LONGER_TABLES:
        return
    rows = config.get("vocab_size")
    widths = {config[name] for name in _WIDTHS if type(config.get(name)) is int}
    for name, tensor in tensors.items():
        if len(tensor.shape) != 2 or not _EMBEDDING.search(name):  # noqa: PLR2004 (a matrix)
            continue
        if type(rows) is int and tensor.shape[0] != rows:
            raise ModelLoadError(
                f"{name} has {tensor.shape[0]} rows, and config.json says vocab_size {rows}; it is "
                "the configuration of another model, or tokens were added without saving it"
            )
        if widths and tensor.shape[1] not in widths:
            raise ModelLoadError(
                f"{name} is {tensor.shape[1]} wide, and config.json says {min(widths)}; it is the "
                "configuration of another model"
            )
