"""From a model's name to a local directory with its files. Nothing of a model is loaded here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from app.domain.errors import ModelFilesError
from app.domain.model_source import HubModel, ModelSource
from app.sources.directory import check_model_files, is_pickled, pickles_only, resolve_local_model
from app.sources.hub_errors import hub_errors

# Weights, configuration, tokenizer, processor, licence. No pickles, no Python files.
ALLOWED = (
    *("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"),
    *("README*", "LICENSE*", "NOTICE*"),
)


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
        files = [*sorted(self.directory.glob("*.safetensors")), self.directory / "config.json"]
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def fetch(
    source: ModelSource, *, roots: Sequence[Path], hub_endpoint: str, hub_cache: Path
) -> ModelFiles:
    """The files of a model, downloaded from the hub if need be.

    A commit that was downloaded before is not asked for again, and a branch falls back to the
    last commit seen of it while the hub is away.

    Raises:
        UserError: the model does not exist, may not be had, or is not one we load.
        HubUnavailableError: the hub does not answer.
    """
    if not isinstance(source, HubModel):
        return ModelFiles(resolve_local_model(source.path, roots))
    with hub_errors(source):
        snapshot = snapshot_download(
            source.repo_id,
            revision=source.revision,
            endpoint=hub_endpoint,
            cache_dir=hub_cache,
            allow_patterns=list(ALLOWED),
        )
        files = ModelFiles(Path(snapshot), revision=Path(snapshot).name)
        try:
            check_model_files(files.directory, f"hf:{source.repo_id}")
        except ModelFilesError as error:
            _explain_pickles(source, files, HfApi(endpoint=hub_endpoint), error)
    return files


def _explain_pickles(
    source: HubModel, files: ModelFiles, hub: HfApi, error: ModelFilesError
) -> None:
    """Pickles were not downloaded; ask the hub whether they are all there is."""
    if any(files.directory.glob("*.safetensors")):
        raise error
    if any(map(is_pickled, hub.list_repo_files(source.repo_id, revision=files.revision))):
        raise pickles_only(f"hf:{source.repo_id}")
    raise error
