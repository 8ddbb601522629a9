"""What can be told of a checkpoint without its weights: configuration, names, shapes, types.

Of a model on disk from its files; of one on the hub from the headers of its files, by requests for
a range of bytes.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, hf_hub_download

from app.domain.errors import ModelFilesError, SecateurError
from app.domain.model_source import HubModel, ModelSource
from app.domain.tensors import StoredTensor
from app.sources.directory import is_pickled, pickles_only, read_config, resolve_local_model
from app.sources.headers import read_headers, stored_size
from app.sources.hub_errors import hub_errors

_SECONDS = 5.0  # for an answer of the hub
_KEPT, _FRESH = 64, 60.0  # answers held in memory, and the seconds for which they are
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Outline:
    """A checkpoint without its weights.

    Attributes:
        tensors: by name; None where a file on disk has no header that can be read.
        config: of config.json.
        stored_bytes: size of the weights' files; None like `tensors`.
    """

    tensors: Mapping[str, StoredTensor] | None
    config: Mapping[str, Any]
    stored_bytes: int | None


class Outlines:
    """Those of all models that jobs may name."""

    def __init__(self, roots: Sequence[Path], hub_endpoint: str, hub_cache: Path) -> None:
        """Look at nothing yet.

        Args:
            roots: directories under which local models may lie.
            hub_endpoint: base URL of the hub.
            hub_cache: where configurations from the hub are kept.
        """
        self.roots = roots
        self._hub = HfApi(endpoint=hub_endpoint, library_name="secateur")
        self._cache = hub_cache
        self._known: OrderedDict[HubModel, tuple[float, Outline | SecateurError]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, source: ModelSource) -> Outline:
        """The outline of a model.

        Answers of the hub, refusals too, count for a minute.

        Raises:
            UserError: the model does not exist, may not be had, or is not one we load.
            HubUnavailableError: the hub does not answer.
        """
        if not isinstance(source, HubModel):
            return _on_disk(resolve_local_model(source.path, self.roots))
        with self._lock:
            until, found = self._known.get(source, (0.0, None))
        if found is None or time.monotonic() > until:
            try:
                found = self._ask(source)
            except SecateurError as error:
                found = error
            with self._lock:
                self._known[source] = (time.monotonic() + _FRESH, found)
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        if isinstance(found, SecateurError):
            raise type(found)(str(found))
        return found

    def _ask(self, source: HubModel) -> Outline:
        with hub_errors(source):
            info = self._hub.model_info(
                source.repo_id, revision=source.revision, files_metadata=True, timeout=_SECONDS
            )
            weights = _weights(source, info)
            at = HubModel(source.repo_id, info.sha or source.revision)
            with ThreadPoolExecutor(min(len(weights), _AT_ONCE)) as pool:
                headers = list(pool.map(partial(self._header, at), weights))
            return Outline(
                tensors={name: tensor for header in headers for name, tensor in header.items()},
                config=self._config(at),
                stored_bytes=sum(weights.values()),
            )

    def _header(self, at: HubModel, file: str) -> dict[str, StoredTensor]:
        found = self._hub.parse_safetensors_file_metadata(
            at.repo_id, file, revision=at.revision, timeout=_SECONDS
        )
        return {
            name: StoredTensor(tuple(tensor.shape), tensor.dtype)
            for name, tensor in found.tensors.items()
        }

    def _config(self, at: HubModel) -> dict[str, Any]:
        file = hf_hub_download(
            at.repo_id,
            "config.json",
            revision=at.revision,
            endpoint=self._hub.endpoint,
            cache_dir=self._cache,
            etag_timeout=_SECONDS,
        )
        return read_config(Path(file).parent)


def _on_disk(directory: Path) -> Outline:
    tensors = read_headers(directory)
    return Outline(
        tensors, read_config(directory), stored_size(directory) if tensors is not None else None
    )


def _weights(source: HubModel, info: ModelInfo) -> dict[str, int]:
    """Sizes of the files that hold the weights, by name."""
    named = f"hf:{source.repo_id}"
    files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    found = {
        name: size
        for name, size in files.items()
        if name.endswith(".safetensors") and "/" not in name
    }
    if not found and any(map(is_pickled, files)):
        raise pickles_only(named)
    if not found:
        raise ModelFilesError(f"{named!r} has no *.safetensors file")
    if "config.json" not in files:
        raise ModelFilesError(f"{named!r} has no config.json")
    return found
