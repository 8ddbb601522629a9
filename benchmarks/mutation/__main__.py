"""`make mutation`: break every module that guards something, and see whether its tests notice.

`--mutants` says how many breaks of each module are tried, drawn by `--seed` from all there are;
`--only` chooses modules by parts of their paths.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, conclude
from benchmarks.mutation.breaks import Break, breaks_of
from benchmarks.mutation.explained import explained
from benchmarks.mutation.guards import GUARDS
from benchmarks.mutation.trial import ROOT, Bench, Outcome

GOAL = 95  # percent


def main() -> int:
    """Try the breaks; an exit code of zero where every target is reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation")
    parser.add_argument("--mutants", type=int, default=10)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", nargs="*", default=[""])
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaving no server and no copy behind
    reasons, shares = explained(), dict[str, float]()
    counted: Counter[str] = Counter(stale=len(reasons.keys() - GUARDS.keys()))
    with Bench() as bench:
        for module, tests in GUARDS.items():
            if not any(part in module for part in given.only):
                continue
            began = time.monotonic()
            found = breaks_of((ROOT / module).read_bytes())
            here = Counter(_stale(module, found, reasons[module]))
            unbroken = bench.baseline(module, tests)
            for each in sample(found, given.mutants, f"{given.seed} {module}"):
                outcome = bench.attempt(module, tests, each, unbroken)
                here.update(_judged(module, each, outcome, reasons[module].get(each.name)))
            counted += here
            shares[module] = 100 * here["killed"] / here["tried"]
            print(
                f"{module}: {here['killed']} of {here['tried']} killed, {here['explained']} "
                f"explained, of {len(found)}; {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return conclude(
        {
            "killed_percent": Figure(100 * counted["killed"] / counted["tried"], least=GOAL),
            "weakest_module_percent": Figure(min(shares.values())),
            "modules": Figure(len(shares)),
            "tried": Figure(counted["tried"]),
            "killed": Figure(counted["killed"]),
            "killed_by_the_clock": Figure(counted["clock"]),
            "survived_explained": Figure(counted["explained"]),
            "survived_unexplained": Figure(counted["unexplained"]),
            "stale_explanations": Figure(counted["stale"], most=0),
        }
    )


def sample(found: Sequence[Break], number: int, seed: str) -> list[Break]:
    """Up to `number` breaks, as many of each kind as there are; in the order of the text."""
    by_kind: defaultdict[str, list[Break]] = defaultdict(list)
    for each in random.Random(seed).sample(found, len(found)):
        by_kind[each.kind].append(each)
    turns = [(turn, kind) for kind, breaks in by_kind.items() for turn in range(len(breaks))]
    drawn = [by_kind[kind][turn] for turn, kind in sorted(turns, key=lambda each: each[0])]
    return sorted(drawn[:number], key=found.index)


def _stale(module: str, found: Sequence[Break], reasons: Sequence[str]) -> dict[str, int]:
    gone = set(reasons) - {each.name for each in found}
    for name in gone:
        print(f"  STALE    {module} has no break {name}", flush=True)
    return {"stale": len(gone)}


def _judged(module: str, each: Break, outcome: Outcome, reason: str | None) -> Iterator[str]:
    yield "tried"
    if outcome is Outcome.SURVIVED:
        yield "unexplained" if reason is None else "explained"
        print(f"  {'SURVIVED' if reason is None else 'explained'} {module}:{each.line} {each.name}")
        return
    yield "killed"
    if outcome is Outcome.HUNG:
        yield "clock"
    if reason is not None:
        yield "stale"
        print(f"  STALE    {module}:{each.line} is killed: {each.name}")


if __name__ == "__main__":
    sys.exit(main())
