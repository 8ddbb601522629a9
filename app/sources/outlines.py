"""What can be told of a checkpoint without its weights: configuration, names, shapes, types.

Of a model on disk from its files; of one on the hub from the headers of its files, by requests for
a range of bytes. Only the files that a job would load are looked at.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.domain.errors import (
    HubUnavailableError,
    ModelFilesError,
    ModelLoadError,
    SecateurError,
)
from app.domain.model_source import HubModel, ModelSource
from app.domain.tensors import StoredTensor
from app.sources.directory import (
    MAX_CONFIG,
    file_names,
    parse_config,
    read_config,
    read_file,
    resolve_local_model,
)
from app.sources.headers import MAX_HEADER, PREFIX, header_length, parse_header, read_header
from app.sources.hub_errors import hub_errors
from app.sources.hub_files import HubFiles
from app.sources.model_files import (
    CONFIG_FILE,
    INDEX_FILE,
    MAX_INDEX,
    SINGLE_FILE,
    SUFFIX,
    entry_file,
    parse_index,
    select,
)

_FIRST = 100_000  # bytes of a file that are asked for first: most headers are shorter
_KEPT, _FRESH = 64, 60.0  # answers held in memory, and the seconds for which they are
_KEPT_TENSORS = 400_000  # of all these answers
_AT_ONCE = 8
_ASKING, _ASKING_EACH = 12, 4  # models that the hub is asked for at a time, and those of a project

Headers = Callable[[str], dict[str, StoredTensor]]


@dataclass(frozen=True, slots=True)
class Outline:
    """A checkpoint without its weights.

    Attributes:
        tensors: those that a job loads, by name.
        config: of config.json.
        unread: files of weights beside them that no job reads.
    """

    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]
    unread: tuple[str, ...] = ()


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
        self._known: OrderedDict[HubModel, tuple[float, Outline | SecateurError]] = OrderedDict()
        self._asking = Counter[str]()
        self._lock = threading.Lock()
        self._parsing = threading.Lock()  # one header at a time: parsing takes many times its bytes

    def of(self, source: ModelSource, asker: str) -> Outline:
        """The outline of a model.

        Answers of the hub, refusals too, count for a minute.

        Args:
            source: the model's name.
            asker: whose project wants to know; the hub is asked little at a time for one.

        Raises:
            UserError: the model does not exist, may not be had, or is not one we load.
            HubUnavailableError: the hub does not answer, or has been asked for much already.
        """
        if not isinstance(source, HubModel):
            return self._on_disk(resolve_local_model(source.path, self.roots))
        with self._lock:
            until, found = self._known.get(source, (0.0, None))
        if found is None or time.monotonic() > until:
            with self._turn(asker):
                try:
                    found = self._ask(source)
                except SecateurError as error:
                    found = error
            self._keep(source, found)
        if isinstance(found, SecateurError):
            raise type(found)(str(found))
        return found

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

    def _keep(self, source: HubModel, found: Outline | SecateurError) -> None:
        with self._lock:
            self._known.pop(source, None)
            self._known[source] = (time.monotonic() + _FRESH, found)
            while len(self._known) > _KEPT or self._tensors() > _KEPT_TENSORS:
                self._known.popitem(last=False)

    def _tensors(self) -> int:
        kept = (found for _, found in self._known.values())
        return sum(len(found.tensors) for found in kept if isinstance(found, Outline))

    def _on_disk(self, directory: Path) -> Outline:
        def header(file: str) -> dict[str, StoredTensor]:
            with self._parsing:
                return read_header(directory / file, self._max_header)

        try:
            names = file_names(directory)
            index = entry_file(names, directory.name) == INDEX_FILE
            content = read_file(directory / INDEX_FILE, MAX_INDEX) if index else None
            tensors = _tensors(names, content, header)
            return Outline(tensors, read_config(directory), _unread(names, tensors))
        except OSError as error:
            raise ModelFilesError(
                f"a file of {directory.name!r} cannot be read: {error.strerror}"
            ) from error

    def _ask(self, source: HubModel) -> Outline:
        with hub_errors(source):
            at, sizes = self._hub.list(source)
            index = entry_file(sizes, f"hf:{source.repo_id}") == INDEX_FILE
            content = self._hub.read(at, INDEX_FILE, MAX_INDEX + 1).content if index else None
            config = parse_config(self._hub.read(at, CONFIG_FILE, MAX_CONFIG + 1).content)
            tensors = _tensors(sizes, content, partial(self._header, at, sizes))
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
