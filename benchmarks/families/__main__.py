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

from benchmarks.families import record
from benchmarks.families.classes import KINDS, TARGETS
from benchmarks.families.trial import attempt_alone
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
        today = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "transformers": transformers.__version__}
        every = [result for results in found.values() for result in results]
        record.write({result["name"]: result | today for result in every})
        record.TABLE.write_text(record.page(record.read()), encoding="utf-8")
        models.write()
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


if __name__ == "__main__":
    raise SystemExit(main())
