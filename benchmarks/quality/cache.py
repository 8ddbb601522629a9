"""Rows on disk under the digest of everything that decides them: a run goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.quality.grid import OUT

ROOT = Path(__file__).parents[2]
CODE = (
    "workers/pruning",
    "workers/scenes",
    "workers/pipeline/evaluation",
    "workers/pipeline/data",
    "app/recipes/recipe.py",
    "app/recipes/methods",
    "app/recipes/evaluation.py",
    "benchmarks/quality/cell.py",
    "benchmarks/quality/texts.py",
    "benchmarks/quality/tuning.py",
)


@cache
def code_digest() -> str:
    """SHA-256 of the code that computes rows."""
    found = hashlib.sha256()
    for place in CODE:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return found.hexdigest()


def cached(
    cell: Any, model: str, compute: Callable[[Any], dict[str, Any]] | None
) -> dict[str, Any] | None:
    """The row of a cell, computed if this model and code have not been met with it before.

    Args:
        cell: what the row is of.
        model: digest of the model.
        compute: makes the row; without it, an unknown row is None.
    """
    content = json.dumps([type(cell).__name__, asdict(cell), model, code_digest()])
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    file = OUT / "quality" / f"{name}.json"
    if not file.exists():
        if compute is None:
            return None
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        partial.write_text(json.dumps(compute(cell)))
        partial.rename(file)
    row: dict[str, Any] = json.loads(file.read_text())
    return row
