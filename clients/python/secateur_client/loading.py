"""Downloaded files as a model of transformers."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from secateur_client.errors import SecateurError

_ROUTER = "par_config.json"


def load_model(directory: Path, options: dict[str, Any]) -> Any:
    """The model of the class that `config.json` names, or the base model with a router attached.

    Args:
        directory: the files of a job.
        options: of `from_pretrained`; for a router also `base` and `profile`.

    Raises:
        SecateurError: transformers is not installed.
    """
    try:
        import transformers  # noqa: PLC0415  all else works without it
    except ImportError as error:
        hint = "loading needs transformers and torch: pip install 'secateur-client[load]'"
        raise SecateurError("transformers_missing", hint) from error
    if (directory / _ROUTER).exists():
        return _routed(transformers, directory, **options)
    names = json.loads((directory / "config.json").read_bytes()).get("architectures") or [
        "AutoModel"
    ]
    kind = getattr(transformers, names[0], transformers.AutoModel)
    return kind.from_pretrained(directory, **options)


def _routed(
    transformers: Any,
    directory: Path,
    *,
    base: str | Path | None = None,
    profile: str = "asked",
    **options: Any,
) -> Any:
    """The base model, and the router on it."""
    named = json.loads((directory / _ROUTER).read_bytes())["base"]
    if base is None:
        base = named["model"]
        options = {"revision": named["revision"]} | options if named["revision"] else options
    model = transformers.AutoModelForImageTextToText.from_pretrained(base, **options)
    spec = spec_from_file_location("par_runtime", directory / "par_runtime.py")
    if spec is None or spec.loader is None:
        raise SecateurError("router_incomplete", f"there is no par_runtime.py in {directory}")
    runtime = module_from_spec(spec)
    spec.loader.exec_module(runtime)
    model.par = runtime.attach(model, directory, profile)
    return model
