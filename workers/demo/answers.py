"""What checkpoints say to a few questions about held-out pictures, with transformers alone.

`python -m workers.demo.answers ANSWER DIRECTORY...` writes a JSON list to the file ANSWER: the
questions, the right answers, and what each directory's model says.
"""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from workers.scenes.samples import Sample, samples
from workers.scenes.splits import Split

KINDS = ("digits", "cell", "colour", "count", "relation")
_LONGEST = 8  # tokens; five digits and the end make six


def ask(directory: Path, asked: list[Sample]) -> list[str]:
    """What the model in `directory` answers, one greedy answer a question."""
    processors: Any = AutoProcessor  # auto classes carry no annotations
    models: Any = AutoModelForImageTextToText
    processor, model = processors.from_pretrained(directory), models.from_pretrained(directory)
    model.eval()
    said = []
    for sample in asked:
        text = f"{processor.image_token}{sample.question}"
        batch = processor(images=[sample.image], text=[text], return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(**batch, max_new_tokens=_LONGEST, do_sample=False)
        new = written[0, batch["input_ids"].shape[1] :]
        said.append(processor.tokenizer.decode(new, skip_special_tokens=True))
    return said


def main(answer: str, *directories: str) -> None:
    """One question of each kind, from the test split."""
    asked = [next(islice(samples(Split.TEST, seed=1, kind=kind), 1)) for kind in KINDS]
    said = [ask(Path(directory), asked) for directory in directories]
    found = [
        {"question": sample.question, "right": sample.answer, "said": list(each)}
        for sample, *each in zip(asked, *said, strict=True)
    ]
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
