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

from benchmarks.families import processors, record, smaller, trial
from benchmarks.families.alone import run_alone
from benchmarks.families.classes import KINDS, TARGETS
from benchmarks.figures import Figure, conclude
from docs._ext import models

ROOT = Path(__file__).parents[2]
SECONDS, BYTES = 150, 6 << 30


def main() -> int:
    """Try every family that is wanted; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="patterns of class names or kinds, with commas")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have found")
    parser.add_argument("--table", action="store_true", help="write the record and both pages")
    arguments = parser.parse_args()
    results = ROOT / "build" / "families" / _state()
    results.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [f"benchmarks.families.{each}" for each in ("trial", "processors", "smaller")]
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, name in _chosen(arguments.only):
        result = _found(results / f"{name}.json", context, trial.attempt, arguments.fresh)
        found.setdefault(kind, []).append(result)
        print(_row(kind, result), flush=True)
    fed: list[dict[str, Any]] = []
    for kind in _chosen_types(arguments.only):
        kept = results / f"processor-{kind}.json"
        fed.append(_found(kept, context, processors.attempt, arguments.fresh))
        print(f"{'processors':20s} {kind:46s} {fed[-1]['told']}", flush=True)
    less: list[dict[str, Any]] = []
    for kind, name in _chosen(arguments.only, "smaller:"):
        kept = results / f"smaller-{name}.json"
        less.append(_found(kept, context, smaller.attempt, arguments.fresh))
        print(f"{'smaller':20s} {name:46s} {kind:20s} {record.made_smaller(less[-1])}", flush=True)
    if arguments.table:
        today = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "transformers": transformers.__version__}
        every = [result for results in found.values() for result in results]
        record.write({result["name"]: result | today for result in every})
        record.write({result["name"]: result | today for result in fed}, record.PROCESSORS)
        record.write({result["name"]: result | today for result in less}, record.SMALLER)
        record.TABLE.write_text(record.page(), encoding="utf-8")
        models.write()
    return conclude(_figures(found) | _fed(fed))


def _state() -> str:
    """Digest of the code that decides what a family gives."""
    digest = hashlib.sha256(transformers.__version__.encode())
    for folder in ("app", "workers/pruning", "benchmarks/families"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _chosen(only: str, start: str = "") -> Iterable[tuple[str, str]]:
    patterns = [each.strip() for each in only.split(",") if each.strip()]
    wanted = [each.removeprefix(start) for each in patterns if each.startswith(start)]
    for kind, names in KINDS.items():
        for name in names:
            if not patterns or any(fnmatchcase(name, p) or kind == p for p in wanted):
                yield kind, name


def _chosen_types(only: str) -> Iterable[str]:
    patterns = [each.strip() for each in only.split(",") if each.strip()]
    for kind in processors.TYPES:
        if not patterns or "processors" in patterns or f"processors:{kind}" in patterns:
            yield kind


def _found(kept: Path, context: Any, attempt: Any, fresh: bool) -> dict[str, Any]:
    """What was kept, or what a process of its own finds, or why that found nothing."""
    if fresh or not kept.exists():
        kept.write_text(json.dumps(_tried(_name(kept), context, attempt)))
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def _name(kept: Path) -> str:
    return kept.stem.removeprefix("processor-").removeprefix("smaller-")


def _tried(name: str, context: Any, attempt: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="secateur-families-") as place:
        answer = Path(place) / "result.json"
        asked = (attempt, name, Path(place), answer, BYTES)
        process = context.Process(target=run_alone, args=asked)
        process.start()
        process.join(SECONDS)
        told = f"process ended: {process.exitcode}"
        if process.is_alive():
            process.kill()
            process.join()
            told = f"not done after {SECONDS} s"
        elif answer.exists():
            result: dict[str, Any] = json.loads(answer.read_text())
            return result
        return {
            "name": name,
            "built": told,
            "told": told,
            "needs": "",
            "alone": False,
            "checks": {},
        }


def _row(kind: str, result: dict[str, Any]) -> str:
    shares = f"{result.get('reached_blocks', 0):6.1%} {result.get('reached_all', 0):6.1%}"
    return f"{kind:20s} {result['name']:46s} {shares}  {record.told(result)}"


def _figures(found: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    figures = {}
    for kind, results in found.items():
        passed = sum(map(record.passes, results))
        print(f"{kind}: {passed} of {len(results)}")
        whole = len(results) == len(KINDS[kind])
        figures[kind] = Figure(passed, least=TARGETS[kind] if whole else None)
    return figures


def _fed(results: list[dict[str, Any]]) -> dict[str, Figure]:
    if not results:
        return {}
    able = [result for result in results if not result["needs"]]
    fed = sum(result["told"] == record.OK for result in able)
    free = "that need neither torchvision nor timm"
    print(f"processors: {fed} of {len(able)} {free}; {len(results)} in all")
    whole = len(results) == len(processors.TYPES)
    return {"processors": Figure(fed, least=processors.TARGET if whole else None)}


if __name__ == "__main__":
    raise SystemExit(main())
