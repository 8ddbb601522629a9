"""What other people's libraries say, made fit for a client's eyes."""

import re
from pathlib import Path

MOST = 300  # characters

_ADDRESS = re.compile(r"<([\w.]+)(?: object)? at 0x[0-9a-fA-F]+>|\b0x[0-9a-fA-F]{6,}\b")
_PATH = re.compile(r"(?<![\w:/.<])/(?:[\w.@+-]+/)+(?=[\w.@+-])")
_BYTES = re.compile(r"<_io\.\w+[^>]*>")
_INTERPRETER = re.compile(r"Exceeds the limit|set_int_max_str_digits|recursion depth")


def words_of(error: BaseException, directory: Path | None = None, name: str = "") -> str:
    """The message of an error in one line: no addresses, no paths of this machine, not too long.

    Args:
        error: anybody's.
        directory: whose path is not told.
        name: what to call it.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if directory is not None:
        text = text.replace(str(directory), name)
    if _INTERPRETER.search(text):
        text = "a number is too long, or brackets are nested too deeply"
    text = " ".join(_PATH.sub("", _ADDRESS.sub("", _BYTES.sub("it", text))).split())
    text = text if len(text) <= MOST else f"{text[:MOST].rsplit(' ', 1)[0]} ..."
    return text or type(error).__name__
