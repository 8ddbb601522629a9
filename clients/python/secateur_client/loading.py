"""A downloaded checkpoint as a model of transformers."""

import json
from pathlib import Path
from typing import Any

from secateur_client.errors import SecateurError


def load_model(directory: Path, options: dict[str, Any]) -> Any:
    """The model of the class that `config.json` names.

    Args:
        directory: the files of a job.
        options: of `from_pretrained`.

    Raises:
        SecateurError: transformers is not installed.
    """
    try:
        import transformers  # noqa: PLC0415  all else works without it
    except ImportError as error:
        hint = "loading needs transformers and torch: pip install 'secateur-client[load]'"
        raise SecateurError("transformers_missing", hint) from error
    names = json.loads((directory / "config.json").read_bytes()).get("architectures") or [
        "AutoModel"
    ]
    kind = getattr(transformers, names[0], transformers.AutoModel)
    return kind.from_pretrained(directory, **options)
