"""Cut a text before it is encoded, so that special tokens and image placeholders stay whole."""

from typing import Any

from app.errors import CalibrationDataError


def shorten(tokenizer: Any, text: str, max_length: int) -> str:
    """The part of a text that a tokenizer keeps where it truncates to `max_length` tokens.

    Whatever encodes the part afterwards adds its special tokens and placeholders to it; cutting
    token ids instead would lose the end token, or part of an image.

    Args:
        tokenizer: of the model.
        text: any; an empty one comes back as it is.
        max_length: tokens, the tokenizer's special tokens included.

    Raises:
        CalibrationDataError: the special tokens leave no room for text.
    """
    if not text or count_tokens(tokenizer, text) <= max_length:
        return text
    refuse_no_room(tokenizer, max_length)
    for limit in range(max_length, 0, -1):  # a part may take a token more than it took inside
        part = _truncated(tokenizer, text, limit)
        if count_tokens(tokenizer, part) <= max_length:
            return part
    return ""


def refuse_no_room(tokenizer: Any, max_length: int) -> None:
    """Refuse a `max_length` that the tokenizer's special tokens fill.

    Raises:
        CalibrationDataError: the message says what would do.
    """
    special = count_tokens(tokenizer, "")
    if special >= max_length:
        raise CalibrationDataError(
            f"max_length {max_length} leaves no token for text beside {special} special ones; "
            f"give max_length {special + 1} at least"
        )


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of a text, special ones included."""
    return len(tokenizer([text])["input_ids"][0])


def _truncated(tokenizer: Any, text: str, limit: int) -> str:
    if not getattr(tokenizer, "is_fast", False):
        return _longest_prefix(tokenizer, text, limit)
    options = {"truncation": True, "max_length": limit, "return_offsets_mapping": True}
    try:
        places = tokenizer([text], **options)["offset_mapping"][0]
    except Exception:  # noqa: BLE001 (fewer tokens than special ones; each release says it its way)
        return ""
    ends = [(begin, end) for begin, end in places if end > begin]
    return text[min(begin for begin, _ in ends) : max(end for _, end in ends)] if ends else ""


def _longest_prefix(tokenizer: Any, text: str, limit: int) -> str:
    """The longest beginning of at most `limit` tokens: slow tokenizers know no offsets."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(tokenizer, text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low]
