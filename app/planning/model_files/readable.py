"""Whether the files that make a tokenizer can be read at all, before a job waits for a worker."""

from pathlib import Path

from app.errors import CalibrationDataError
from app.planning.model_files.headers import POINTER, is_pointer

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "vocab.json")
_PROCESSOR = ("preprocessor_config.json", "tokenizer.model", "spiece.model")
_SEEN = 256  # bytes of each end


def check_readable(directory: Path) -> None:
    """Refuse a model whose tokenizer or processor files are none, for jobs that read data.

    Raises:
        CalibrationDataError: the message names the file and says what to do.
    """
    for name in (*_TOKENIZER, *_PROCESSOR):
        file = directory / name
        if file.is_file() and (reason := _reason(file)):
            raise CalibrationDataError(
                f"the model's {name} cannot be read: {reason}; fetch it again, or choose a method "
                "that needs no calibration data"
            )


def _reason(file: Path) -> str | None:
    """What is wrong with a file, as far as its two ends tell; None where nothing is."""
    with file.open("rb") as stream:
        head = stream.read(_SEEN)
        stream.seek(max(0, file.stat().st_size - _SEEN))
        tail = stream.read(_SEEN)
    if not head.strip():
        return "it is empty"
    if is_pointer(head):
        return POINTER
    if file.suffix == ".json" and (head.strip()[:1], tail.strip()[-1:]) != (b"{", b"}"):
        return "it is no JSON object, or cut off"
    return None
