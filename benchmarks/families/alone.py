"""One attempt in a process of its own."""

import json
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers


def run_alone(
    attempt: Callable[[str, Path], dict[str, Any]], name: str, place: Path, answer: Path, limit: int
) -> None:
    """Write what `attempt(name, place)` has found, with a limit on this process's bytes."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    warnings.simplefilter("ignore")
    control: Any = transformers.logging  # its functions carry no annotations
    control.set_verbosity_error()
    control.disable_progress_bar()
    answer.write_text(json.dumps(attempt(name, place)), encoding="utf-8")
