"""Which types of models a record of image and text can feed, with transformers' own processors.

Every type of image-text-to-text models gets its processor, with the sizes of a tiny model of that
type, in files beside it; both are loaded as a job loads them, and what the record becomes runs
through the model. The tokenizer has a word a token, and the special tokens that the processor's own
code asks for.
"""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers.models.auto import image_processing_auto, processing_auto
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from benchmarks.families.inputs import batches_for, image_mark
from benchmarks.families.processor_sizes import (
    CHANGES_OF_TYPES,
    FIRST,
    IMAGE_PROCESSORS,
    PATCH,
    PATCHES,
    PLACES,
    PROCESSORS,
    SAID,
    SIDE,
    SMALL,
    TEMPLATE,
    TEMPLATES,
    TEXT_ALONE,
    TIMM,
    TOLD,
)
from benchmarks.families.record import OK
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import FIRST_MARK, VOCABULARY, Marks, build
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.loading import load_model
from workers.pruning.models.processors import ABSENT, image_only, processor_class

TYPES: dict[str, str] = dict(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
TARGET = 72
_IMAGES: dict[str, dict[str, str]] = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
_ORDINARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
_RESERVED = 40  # ids for tokens that only configurations name
_TEXT = "a red circle above the blue square"
_LITERAL = r"""["'](<[^"'\s<>{}]+>|\[[A-Z_]+\]|\|\w+\|)["']"""


def needs(kind: str) -> str:
    """The library without which transformers has no model or no image processor of the type."""
    if kind in TIMM:
        return "timm"
    named = _IMAGES.get(IMAGE_PROCESSORS.get(kind, kind), {})
    return "torchvision" if named and "pil" not in named else ""


def attempt(kind: str, place: Path) -> dict[str, Any]:
    """What came of a type: `told` is `ok` or the reason in one line."""
    found = {"name": kind, "needs": needs(kind), "alone": kind in TEXT_ALONE}
    try:
        _feed(kind, place)
    except Exception as error:  # noqa: BLE001 (whatever a foreign family raises is the result)
        return found | {"told": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    return found | {"told": OK}


def _feed(kind: str, place: Path) -> None:
    write(kind, place)
    adapter = adapt(load_model(place))
    image = None if kind in TEXT_ALONE else Image.new("RGB", (48, 40))
    record = CalibrationRecord(_TEXT, image)
    [batch] = adapter.batches([record], batch_size=1, max_length=32)
    with torch.no_grad():
        adapter.forward(batch)


def write(kind: str, place: Path, more: Mapping[str, Any] | None = None) -> None:
    """A tiny random model of the type, and its processor in files beside it.

    Args:
        kind: of the model, as configurations name it.
        place: a directory, filled.
        more: fields of the model's configuration, as in `sizes`.
    """
    name = TYPES[kind]
    named = processing_auto.PROCESSOR_MAPPING_NAMES.get(kind) or PROCESSORS.get(kind)
    if named is None:
        raise LookupError("transformers names no processor of it")
    made = processor_class(named)
    changes = CHANGES.get(name, {}) | CHANGES_OF_TYPES.get(kind, {}) | dict(more or {})
    sized = build(name, changes, Marks())
    image = FIRST.get(kind) or _mark(_built(kind, made, _tokenizer(made), sized), "image")
    tokenizer = _tokenizer(made, first=image or "<image>")
    processor = _built(kind, made, tokenizer, sized)
    marks = Marks()
    for part in ("image", "video", "audio"):
        if (token := _mark(processor, part)) is not None:
            marks.ids[part] = tokenizer.convert_tokens_to_ids(token)
    marks.ids |= {"image": FIRST_MARK, "image_patch": FIRST_MARK}
    model = build(name, changes, marks)
    if kind == "vision-encoder-decoder":  # checkpoints say them; the class has no such fields
        model.config.pad_token_id, model.config.decoder_start_token_id = 0, 1
    model.save_pretrained(place)
    _save(kind, processor, place)


def _mark(processor: Any, part: str) -> str | None:
    """The token that stands for an image, a video or a sound."""
    number = getattr(processor, f"{part}_token_id", None)
    if isinstance(number, int):
        return str(processor.tokenizer.convert_ids_to_tokens(number))
    found = getattr(processor, f"{part}_token", None)
    return None if found is None else str(getattr(found, "content", found))


def _save(kind: str, processor: Any, place: Path) -> None:
    """As checkpoints have it: a file a part, and one for what the processor itself is told."""
    processor.tokenizer.save_pretrained(place)
    processor.image_processor.save_pretrained(place)
    own: dict[str, Any] = {"processor_class": type(processor).__name__}
    wanted = inspect.signature(type(processor).__mro__[1].__init__).parameters
    for key in wanted.keys() - set(processor.get_attributes()):
        value = getattr(processor, key, None)
        if isinstance(value, int | str | dict):
            own[key] = value
    (place / "processor_config.json").write_text(json.dumps(own), encoding="utf-8")
    if kind in TEMPLATES:
        template = TEMPLATE.replace("{mark}", TEMPLATES[kind])
        (place / "chat_template.jinja").write_text(template, encoding="utf-8")


def _tokenizer(made: Any, *, first: str | None = None) -> Any:
    """A tokenizer with the tokens that the processor's code names; one of them is `FIRST_MARK`."""
    source = Path(inspect.getfile(made)).read_text(encoding="utf-8")
    known = re.findall(r"tokenizer(?:\.(\w+_token)\b|, .(\w+_token)., None)", source)
    attributes = sorted({one or other for one, other in known})
    attributes = [a for a in attributes if not re.match("add_|bos|eos|unk|pad|cls|sep|mask", a)]
    asked = re.findall(r"hasattr\(tokenizer, .(\w+)", source)  # it brings them itself
    named = {a: _named(a, source) for a in attributes if a not in asked}
    special = [*filter(None, (first, *named.values(), *re.findall(_LITERAL, source)))]
    special = [token for token in dict.fromkeys(special) if token not in _ORDINARY]
    special += [f"<reserved_{at}>" for at in range(_RESERVED - len(special))]
    words = (*_TEXT.split(), *(f"w{i}" for i in range(VOCABULARY)))
    later = list(dict.fromkeys((*special, *words)))[: VOCABULARY - FIRST_MARK]
    vocabulary = _ORDINARY | {token: FIRST_MARK + at for at, token in enumerate(later)}
    raw = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens=named,
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


def _named(attribute: str, source: str) -> str:
    """The text that the processor's code gives a token by default, or one of our own."""
    found = re.search(rf"{attribute}[^\n]*?{_LITERAL}", source)
    return found[1] if found else f"<{attribute}>"


def _built(kind: str, made: Any, tokenizer: Any, model: Any) -> Any:
    parts: dict[str, Any] = {}
    for part in made.get_attributes():
        if "tokenizer" in part:
            parts[part] = tokenizer
        else:
            parts[part] = _image_processor(kind, model) if part == "image_processor" else ABSENT
    wanted = inspect.signature(made.__init__).parameters
    return image_only(made)(**parts, **_told(kind, model, frozenset(wanted)))


def _told(kind: str, model: Any, wanted: frozenset[str]) -> dict[str, Any]:
    """What a processor is told of how many places an image takes."""
    config, vision = model.config, _vision(model.config)
    strategy = getattr(config, "vision_feature_select_strategy", None)
    known = {
        "patch_size": PATCHES.get(kind, _side(vision, "patch_size", PATCH)),
        "img_size": _side(vision),
        "image_size": _side(vision),
        "vision_feature_select_strategy": strategy,
        "num_additional_image_tokens": int(strategy == "default"),
        "num_query_tokens": getattr(config, "num_query_tokens", None),
        "downsample_factor": getattr(config, "downsample_factor", 1),
        "downsample_rate": getattr(config, "downsample_rate", None),
        "spatial_merge_size": getattr(config, "spatial_merge_size", None),
        "size_conversion": {_side(vision): _count(kind, model)},
    }
    if counts := {"image_seq_length", "image_seq_len", "num_image_tokens"} & wanted:
        known |= dict.fromkeys(counts, _count(kind, model))
    return {name: known[name] for name in wanted if name in known}


def _count(kind: str, model: Any) -> int:
    """Places of one image in the inputs that the tiny model is tried with."""
    if kind in PLACES:
        return PLACES[kind]
    changes = INPUTS.get(TYPES[kind], {})
    batch = batches_for(model, changes, count=1)[0]
    mark = image_mark(model)
    found = int((batch["input_ids"][0] == mark).sum()) if mark is not None else 0
    return found or int(changes.get("places", 0)) or 16


def _vision(config: Any) -> Any:
    return getattr(config, "vision_config", None) or config


def _side(vision: Any, field: str = "image_size", usual: int = SIDE) -> int:
    """Of a square that the tiny model was built for."""
    found = getattr(vision, field, usual)
    found = found[0] if isinstance(found, list | tuple) else found
    return found if isinstance(found, int) else usual


def _image_processor(kind: str, model: Any) -> Any:
    named = _IMAGES[IMAGE_PROCESSORS.get(kind, kind)]
    image_class: Any = getattr(transformers, named.get("pil") or named["torchvision"])
    vision = _vision(model.config)
    sizes: dict[str, Any] = {}
    side, patch = _side(vision), _side(vision, "patch_size", PATCH)
    for name, small in SMALL.items():
        usual = getattr(image_class, name, SAID.get(kind, {}).get(name))
        if usual is not None:
            sizes[name] = small(usual, patch if name == "patch_size" else side)
    if kind in {"florence2", "paligemma"}:  # said in their files alone
        sizes["image_seq_length"] = _count(kind, model)
    for name, field in (("merge_size", "spatial_merge_size"), ("temporal_patch_size",) * 2):
        if hasattr(image_class, name) and isinstance(own := getattr(vision, field, None), int):
            sizes[name] = own
    return image_class(**sizes | TOLD.get(kind, {}))
