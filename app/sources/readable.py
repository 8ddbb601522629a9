"""Whether the files that make a tokenizer can be read at all, before a job waits for a worker."""

import json
from functools import lru_cache
from pathlib import Path

from app.domain.errors import CalibrationDataError

POINTER = b"version https://git-lfs"
_FILES = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "vocab.json")
_FILES += ("preprocessor_config.json", "tokenizer.model", "spiece.model")
_LONGEST = 64 << 20  # bytes; longer ones are left to the worker


def check_readable(directory: Path) -> None:
    """Refuse a model whose tokenizer or processor files are none, for jobs that read data.

    Raises:
        CalibrationDataError: the message names the file and says what to do.
    """
    for name in _FILES:
        file = directory / name
        if file.is_file():
            state = file.stat()
            if reason := _reason(file, state.st_size, state.st_mtime_ns):
                raise CalibrationDataError(
                    f"the model's {name} cannot be read: {reason}; fetch it again, or choose a "
                    "method that needs no calibration data"
                )


@lru_cache(maxsize=512)
def _reason(file: Path, size: int, _modified: int) -> str | None:
    """What is wrong with a file in this state; None where nothing is."""
    if size == 0:
        return "it is empty"
    if size > _LONGEST:
        return None
    content = file.read_bytes()
    if content.startswith(POINTER):
        return "it is a Git LFS pointer, not the file itself (git lfs pull)"
    if file.suffix != ".json":
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return "it is no JSON, or cut off"
    return None if isinstance(found, dict) else "it holds no JSON object"
