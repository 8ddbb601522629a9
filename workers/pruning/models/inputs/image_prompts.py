"""How a processor wants a text with one image, found by trying its own ways on a small image.

Processors differ: some put the places of the image in by themselves, some want a chat template,
some one token for the image, some begin and end tokens around it or instead of it.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, TypeAlias

from PIL import Image

Form: TypeAlias = Callable[[str], str]
_PROBE = Image.new("RGB", (64, 64), (127, 127, 127))
_AROUND = (
    ("vision_start_token", "vision_end_token"),
    ("image_start_token", "image_end_token"),
    ("image_bos_token", "image_eos_token"),
)


def prompt_form(processor: Any, places: Collection[int]) -> Form:
    """What makes a prompt of a text; the likeliest form where none gives the image a place.

    Args:
        processor: of images and texts.
        places: ids of the tokens that stand for images.
    """
    forms = list(_forms(processor))
    return next((form for form in forms if _takes(processor, form, places)), forms[-1])


def _forms(processor: Any) -> Iterator[Form]:
    """Most particular first; the last one is what most processors want."""
    if getattr(processor, "chat_template", None):
        yield partial(_chat, processor)
    yield partial(_marked, "")  # it puts the image in by itself
    image, begin = (_token(processor, name) for name in ("image_token", "boi_token"))
    for start, end in _AROUND:
        if image and (first := _token(processor, start)) and (last := _token(processor, end)):
            yield partial(_marked, f"{first}{image}{last}")
    for mark in (image, begin):
        if mark:
            yield partial(_marked, mark)
    yield partial(_marked, begin or image or "")


def _marked(mark: str, text: str) -> str:
    return mark + text


def _token(processor: Any, name: str) -> str | None:
    found = getattr(processor, name, None) or getattr(processor.tokenizer, name, None)
    return found if isinstance(found, str) else None


def _chat(processor: Any, text: str) -> str:
    """The user's turn, and the beginning of the answer."""
    content = [{"type": "image"}, {"type": "text", "text": text}]
    made: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    tokenizer = processor.tokenizer
    begin = tokenizer.bos_token
    if begin and tokenizer([""])["input_ids"][0][:1] == [tokenizer.bos_token_id]:
        return made.removeprefix(begin)  # the tokenizer writes it too
    return made


def _takes(processor: Any, form: Form, places: Collection[int]) -> bool:
    """Whether the processor gives the image places in the text."""
    try:
        found = processor(text=[form("a")], images=[_PROBE], return_tensors="pt")["input_ids"]
    except Exception:  # noqa: BLE001 (each processor refuses what it does not want in its own way)
        return False
    return any(int(id_) in places for id_ in found.flatten().tolist())
