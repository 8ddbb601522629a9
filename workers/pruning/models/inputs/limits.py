"""What a model and its processor can take: token ids, positions, texts without placeholders.

Texts are cut before they are encoded, so that special tokens and image placeholders stay whole.
"""

import re
from typing import Any

from torch import Tensor, nn

from app.errors import CalibrationDataError

_POSITIONS = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe|pos_embeddings?)$")
_NOT_OF_TEXT = re.compile(r"vision|visual|image|pixel|vit\b|video|audio|speech|sound")
_PLACEHOLDER = re.compile(r"^(image|video|audio|vision\w*|boi|eoi|boa|eoa)_token_(id|index)$")
_MARKS = ("image_token", "video_token", "audio_token", "boi_token", "eoi_token")
_NO_LIMIT = 1 << 31


def longest_text(model: Any) -> int:
    """Tokens the text side has positions for, special tokens and image placeholders included.

    The configuration says how many were trained; a table of learned positions may have fewer, and
    RoBERTa's begins behind its padding index.
    """
    config = model.config.get_text_config()
    known = getattr(config, "max_position_embeddings", None)
    counts = [known] if isinstance(known, int) and known > 0 else []
    return min([*counts, *_learned(model)], default=_NO_LIMIT)


def has_learned_positions(model: nn.Module) -> bool:
    """Whether a longer text has no positions at all, rather than ones that were not trained."""
    return bool(_learned(model))


def _learned(model: nn.Module) -> list[int]:
    return [
        module.num_embeddings - _reserved(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and _POSITIONS.search(name)
        and not _NOT_OF_TEXT.search(name)
    ]


def _reserved(table: nn.Embedding) -> int:
    """Rows at the beginning of a table of positions that no token has."""
    offset = getattr(table, "offset", None)
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def vocabulary_size(model: Any) -> int | None:
    """Rows of the text embedding; None where it cannot be told."""
    try:
        found = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        found = None
    if not isinstance(found, nn.Embedding):
        texts = getattr(model, "text_model", None)  # CLIP names none of its two embeddings
        found = getattr(getattr(texts, "embeddings", None), "token_embedding", None)
    return found.num_embeddings if isinstance(found, nn.Embedding) else None


def placeholders(processor: Any, config: Any) -> dict[int, str]:
    """Tokens that stand for images, videos or sounds, by id."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        return {}
    named = config.to_dict()
    ids = {
        value for name, value in named.items() if _PLACEHOLDER.match(name) and type(value) is int
    }
    texts = {getattr(processor, name, None) for name in _MARKS}
    ids |= {tokenizer.convert_tokens_to_ids(text) for text in texts if isinstance(text, str)}
    ids -= {None, getattr(tokenizer, "unk_token_id", None)}
    return {number: str(tokenizer.convert_ids_to_tokens(number)) for number in ids if number >= 0}


def refuse_placeholders(tokenizer: Any, text: str, marks: dict[int, str]) -> None:
    """Refuse a text that holds the place of an image: places are made for the images there are.

    Raises:
        CalibrationDataError: the message names the token.
    """
    if not marks:
        return
    found = next((id_ for id_ in tokenizer([text])["input_ids"][0] if id_ in marks), None)
    if found is not None:
        raise CalibrationDataError(
            f"its text holds {marks[found]!r}, which the model keeps for the place of an image; "
            "take it out, the place of the record's image is added by itself"
        )


def refuse_unknown_ids(name: str, ids: Tensor, size: int, marks: dict[int, str]) -> None:
    """Refuse token ids that the model's embedding has no row for.

    Placeholders of images may lie beyond it: features take their place.

    Raises:
        CalibrationDataError: the message names the entry and the id.
    """
    beyond = {int(id_) for id_ in ids[ids >= size].tolist()} - set(marks)
    if beyond:
        raise CalibrationDataError(
            f"{name} holds token {min(beyond)}, and the model's embedding has {size} rows; the "
            "tokenizer in the checkpoint is not the model's own, or has tokens the model was "
            "never given"
        )


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
