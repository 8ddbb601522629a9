"""What both models are run on: one prompt of a picture and words, as far as it takes them."""

from functools import partial

from PIL import Image
from torch import Tensor

from app.errors import CalibrationDataError
from app.recipes.data import Inputs
from app.recipes.performance import ANSWER, IMAGE, PROMPT, Shapes
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import CalibrationRecord, Sample
from workers.pruning.models.prompts import encode_prompt

_TEXT = "the quick brown fox jumps over the lazy dog and sleeps beside the red house " * (
    PROMPT // 8
)
_FEWEST = 4


def make_inputs(adapter: Adapter, takes: Inputs | None) -> tuple[dict[str, Tensor], Shapes]:
    """Inputs of the model, one row, on its device.

    Args:
        adapter: of either model; they take the same.
        takes: what kinds of input.

    Raises:
        CalibrationDataError: the checkpoint has nothing that makes inputs, or makes none of these.
    """
    if takes is None:
        raise CalibrationDataError("its configuration tells neither of texts nor of images")
    adapter.refuse_no_processor()
    image = Image.linear_gradient("L").resize(IMAGE).convert("RGB") if takes.images else None
    record = CalibrationRecord(_TEXT if takes.texts else None, image)
    writes = adapter.model.can_generate()
    sample = _sample(adapter, record, PROMPT, writes=writes)
    if writes and (excess := _length(sample) + ANSWER - adapter.longest) > 0:
        words = min(PROMPT, _length(sample) - _image_tokens(adapter, sample))
        sample = _sample(adapter, record, max(_FEWEST, words - excess), writes=writes)
    inputs = adapter.joined([sample])
    tokens = _length(sample)
    shapes = Shapes(
        batch=1,
        tokens=tokens,
        image_tokens=_image_tokens(adapter, sample),
        image=IMAGE if takes.images else None,
        answer=max(1, min(ANSWER, adapter.longest - tokens)) if writes else 0,
    )
    return inputs, shapes


def _sample(adapter: Adapter, record: CalibrationRecord, words: int, *, writes: bool) -> Sample:
    encode = partial(encode_prompt, adapter) if writes else partial(_encode, adapter)
    return encode(record, words)


def _encode(adapter: Adapter, record: CalibrationRecord, words: int) -> Sample:
    return adapter.encoded(adapter.encode, record, 1, words)


def _length(sample: Sample) -> int:
    return sample["input_ids"].shape[1] if "input_ids" in sample else 0


def _image_tokens(adapter: Adapter, sample: Sample) -> int:
    ids = sample["input_ids"].flatten().tolist() if "input_ids" in sample else []
    return sum(each in adapter.placeholders for each in ids)
