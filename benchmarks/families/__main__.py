"""`make bench-families`: which of transformers' families work, method by method.

Every family has a process of its own with a limit on time and memory. What it found is kept under
`build/families`, in a folder for this state of the code, so that a run can be continued.
"""

import argparse
import hashlib
import json
import multiprocessing
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import transformers

from benchmarks.families.classes import KINDS, TARGETS
from benchmarks.families.trial import CHECKS, attempt_alone
from benchmarks.figures import Figure, conclude

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("README.md")
SECONDS, BYTES = 150, 6 << 30


_HEAD = """\
# Families of models

`make bench-families` builds every class below tiny and random from its own configuration, saves it,
and takes it through a job's path: adapter, five methods, written back, verified, and read by plain
`from_pretrained`. Sums of squared inputs are held to those of plain forward hooks (within 1e-4),
Wanda's choice to that of hooks on the pruned model, modalities to what a change of pixels or words
changes. A class passes where all checks hold and recipes reach 90 % of the weights in blocks, with
bridges (embeddings, heads and convolutions left out). `ONLY=` takes patterns of names or kinds.

A matrix that the inputs made here do not reach is pruned and verified, and has no sums to compare.

Measured on {day} with transformers {version}. Shares: of the weights in blocks, bridges
taken in, and of all weights as recipes reach them by default.
"""


def main() -> int:
    """Try every family that is wanted; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="patterns of class names or kinds, with commas")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have found")
    parser.add_argument("--table", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args()
    results = ROOT / "build" / "families" / _state()
    results.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.families.trial"])
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, name in _chosen(arguments.only):
        kept = results / f"{name}.json"
        if arguments.fresh or not kept.exists():
            kept.write_text(json.dumps(_tried(context, name)))
        result = json.loads(kept.read_text())
        found.setdefault(kind, []).append(result)
        print(_row(kind, result), flush=True)
    if arguments.table:
        TABLE.write_text(_page(found), encoding="utf-8")
    return conclude(_figures(found))


def _state() -> str:
    """Digest of the code that decides what a family gives."""
    digest = hashlib.sha256(transformers.__version__.encode())
    for folder in ("app", "workers/pruning", "benchmarks/families"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _chosen(only: str) -> Iterable[tuple[str, str]]:
    patterns = [each.strip() for each in only.split(",") if each.strip()]
    for kind, names in KINDS.items():
        for name in names:
            if not patterns or any(fnmatchcase(name, p) or kind == p for p in patterns):
                yield kind, name


def _tried(context: Any, name: str) -> dict[str, Any]:
    """What a process of its own finds, or why it found nothing."""
    with tempfile.TemporaryDirectory(prefix="secateur-families-") as place:
        answer = Path(place) / "result.json"
        process = context.Process(target=attempt_alone, args=(name, Path(place), answer, BYTES))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return {"name": name, "built": f"not done after {SECONDS} s", "checks": {}}
        if not answer.exists():
            return {"name": name, "built": f"process ended: {process.exitcode}", "checks": {}}
        result: dict[str, Any] = json.loads(answer.read_text())
        return result


def passes(result: dict[str, Any]) -> bool:
    """Whether every check holds."""
    return bool(result["checks"]) and all(result["checks"].get(c) == "ok" for c in CHECKS)


def _failed(result: dict[str, Any]) -> dict[str, str]:
    """Reasons by the checks that have them."""
    if result["built"] != "ok":
        return {"not built": result["built"]}
    checks: dict[str, list[str]] = {}
    for check, why in result["checks"].items():
        if why != "ok":
            checks.setdefault(why, []).append(check)
    return {", ".join(names): why for why, names in checks.items()}


def _row(kind: str, result: dict[str, Any]) -> str:
    shares = f"{result.get('reached_blocks', 0):6.1%} {result.get('reached_all', 0):6.1%}"
    told = "; ".join(f"{check}: {why}" for check, why in _failed(result).items()) or "passes"
    return f"{kind:20s} {result['name']:46s} {shares}  {told}"


def _figures(found: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    figures = {}
    for kind, results in found.items():
        passed = sum(map(passes, results))
        print(f"{kind}: {passed} of {len(results)}")
        whole = len(results) == len(KINDS[kind])
        figures[kind] = Figure(passed, least=TARGETS[kind] if whole else None)
    return figures


def _page(found: dict[str, list[dict[str, Any]]]) -> str:
    """The table that is committed."""
    day = f"{datetime.now(UTC):%d %B %Y}"
    lines = [_HEAD.format(day=day, version=transformers.__version__).rstrip()]
    for kind, results in found.items():
        passed = sum(map(passes, results))
        lines += ["", f"## {kind}: {passed} of {len(results)} (target {TARGETS[kind]})", ""]
        lines += ["| class | blocks | all | result |", "|---|---|---|---|"]
        lines += [_cells(result) for result in results]
    return "\n".join(lines) + "\n"


def _cells(result: dict[str, Any]) -> str:
    failed = _failed(result)
    told = "; ".join(f"{checks}: {_short(why)}" for checks, why in failed.items()) or "passes"
    if unfed := len(result.get("unseen", ())):
        told += f" ({unfed} matrices get no input here)"
    blocks, whole = result.get("reached_blocks"), result.get("reached_all")
    shares = "| |" if blocks is None else f"{blocks:.1%} | {whole:.1%} |"
    return f"| {result['name']} | {shares} {told} |".replace("| | |", "| | |")


def _short(why: str) -> str:
    return why.replace("|", "/")[:110]


if __name__ == "__main__":
    raise SystemExit(main())
