"""Writing what `runtime.attach` reads: router, config and the runtime file itself."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from workers.pruning.routing import runtime
from workers.pruning.routing.bundling import bundle
from workers.pruning.routing.runtime import Anatomy, Profile, Router

RUNTIME_FILE = "par_runtime.py"


def write_artifact(
    directory: Path,
    router: Router,
    subject: Anatomy,
    *,
    model: str,
    revision: str | None,
    profiles: Mapping[str, Profile],
    layer_candidates: tuple[int, ...],
    coverage_floor: float = 0.1,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Write a router's artifact.

    Args:
        directory: exists; files of the same names are replaced.
        router: trained.
        subject: of the model it was trained for.
        model: the base checkpoint's id; its weights are not copied.
        revision: of the base checkpoint.
        profiles: name -> budget.
        layer_candidates: layers that may be skipped.
        coverage_floor: see `runtime.decide`.
        summary: free entries of `par_config.json`, such as `training` and `metrics`.
    """
    weights = {name: value.contiguous().cpu() for name, value in router.state_dict().items()}
    save_file(weights, directory / "router.safetensors", metadata={"format": "pt"})
    (directory / RUNTIME_FILE).write_text(runtime_source(), encoding="utf-8")
    config = {
        "format": runtime.FORMAT,
        "base": {
            "model": model,
            "revision": revision,
            "family": subject.family,
            "config_hash": runtime.config_hash(subject.model.config),
            "hidden_size": subject.hidden_size,
            "layers": len(subject.layers),
        },
        "router": router.shape(),
        "profiles": {name: asdict(profile) for name, profile in profiles.items()},
        "layer_candidates": list(layer_candidates),
        "coverage_floor": coverage_floor,
        **(summary or {}),
        "files": {name: _facts(directory / name) for name in ("router.safetensors", RUNTIME_FILE)},
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / "par_config.json").write_text(text, encoding="utf-8")


def runtime_source() -> str:
    """The runtime as the one file an artifact carries."""
    return bundle(Path(runtime.__file__).parent, runtime.__name__)


def _facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
