"""How close a pruned sentence encoder stays to the dense one, with transformers alone.

`python -m workers.demo.similarity ANSWER DENSE PRUNED...` writes a JSON list to the file ANSWER,
one object per pruned directory.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

HELD_OUT = files("workers.pipeline").joinpath("data/held_out.txt")


@torch.inference_mode()
def embed(directory: Path, sentences: list[str]) -> tuple[Tensor, nn.Module]:
    """Normalised mean-pooled embeddings, (sentences, hidden), and the model that made them."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory).eval()
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=128, return_tensors="pt")
    hidden = model(**batch).last_hidden_state  # (sentences, tokens, hidden)
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return nn.functional.normalize(mean, dim=1), model


def zero_share(model: nn.Module) -> float:
    """Share of zeros in the linear layers of the encoder."""
    weights = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("encoder.")
    ]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def main(answer: str, dense_directory: str, *pruned_directories: str) -> None:
    """Mean cosine similarity of pruned to dense embeddings on the held-out sentences."""
    sentences = HELD_OUT.read_text().splitlines()
    dense, _ = embed(Path(dense_directory), sentences)
    found = []
    for directory in pruned_directories:
        pruned, model = embed(Path(directory), sentences)
        cosine = (pruned * dense).sum(1).mean().item()
        found.append({"cosine": cosine, "sparsity": zero_share(model)})
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
