"""From a model's name to a local directory with its files. Nothing of a model is loaded here."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from tqdm.auto import tqdm  # type: ignore[import-untyped]  # it has no types

from app.planning.model_files.files import (
    CARD_FILE,
    CONFIG_FILE,
    INDEX_FILE,
    MAX_INDEX,
    SUFFIX,
    HubModel,
    ModelSource,
    companions,
    entry_file,
    file_names,
    parse_index,
    read_file,
    resolve_local_model,
)
from app.planning.model_files.hub import hub_errors


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine.

    Attributes:
        directory: holds config.json and safetensors files; to be read only.
        revision: the commit on the hub; None for a local model.
    """

    directory: Path
    revision: str | None = None

    @property
    def fingerprint(self) -> str:
        """The commit on the hub, or what tells one state of a directory from another."""
        if self.revision is not None:
            return self.revision
        files = [*sorted(self.directory.glob(f"*{SUFFIX}")), self.directory / CONFIG_FILE]
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def fetch(
    source: ModelSource,
    *,
    roots: Sequence[Path],
    hub_endpoint: str,
    hub_cache: Path,
    arrived: Callable[[], None] = lambda: None,
) -> ModelFiles:
    """The files of a model, downloaded from the hub if need be.

    A commit that was downloaded before is not asked for again, and a branch falls back to the
    last commit seen of it while the hub is away.

    Args:
        source: its name.
        roots: directories under which local models may lie.
        hub_endpoint: base URL of the hub.
        hub_cache: where downloads are kept; one that was ended goes on from there.
        arrived: called for every piece, in several threads; what it raises ends the download.

    Raises:
        UserError: the model does not exist, may not be had, or is not one we load.
        HubUnavailableError: the hub does not answer.
    """
    if not isinstance(source, HubModel):
        return ModelFiles(resolve_local_model(source.path, roots))
    with hub_errors(source):
        return _download(source, hub_endpoint, hub_cache, arrived)


def _download(
    source: HubModel, endpoint: str, cache: Path, arrived: Callable[[], None]
) -> ModelFiles:
    """Fetch what belongs to the model: the same files that plans read and exports copy."""
    named = f"hf:{source.repo_id}"

    def arrive(revision: str, names: Iterable[str]) -> Path:
        snapshot = snapshot_download(
            source.repo_id,
            revision=revision,
            endpoint=endpoint,
            cache_dir=cache,
            # Names are read as patterns; a bracket has to stand for itself.
            allow_patterns=[name.replace("[", "[[]") for name in names],
            tqdm_class=_bar(arrived),
        )
        return Path(snapshot)

    # The first call finds out the commit, from what is on disk where the hub is away.
    directory = arrive(source.revision, [CONFIG_FILE])
    commit = directory.name
    names = _listed(source.repo_id, commit, endpoint) or file_names(directory)
    first = entry_file(names, named)
    arrive(commit, {*companions(names), CARD_FILE, first} & set(names))
    if first == INDEX_FILE:
        arrive(commit, set(parse_index(read_file(directory / first, MAX_INDEX)).values()))
    return ModelFiles(directory, commit)


def _listed(repo_id: str, commit: str, endpoint: str) -> list[str]:
    """Paths of the model's files; none where the hub is away."""
    try:
        return HfApi(endpoint=endpoint).list_repo_files(repo_id, revision=commit)
    except (HfHubHTTPError, HTTPError):
        return []


def _bar(arrived: Callable[[], None]) -> Any:
    """A progress bar that is never drawn: the client tells it of every piece."""

    class Bar(tqdm):  # type: ignore[misc]  # as above
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})

        def update(self, _n: float | None = 1) -> None:
            arrived()

    return Bar
