"""`make chaos`: every case of `tests/chaos`, many rounds of it, from a seed.

`--seed` draws the same faults again, `--rounds` says how often a case repeats them, `--only` names
cases as pytest's -k does.
"""

import argparse
import os
import secrets
import sys

import pytest

from benchmarks.figures import conclude
from tests.chaos.tally import Tally

ROUNDS = 5
CASE_SECONDS = 1800  # after which a case has failed


def main() -> int:
    """Run the cases; an exit code of zero where every target is reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seed", default=str(secrets.randbelow(10**6)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    os.environ["CHAOS_SEED"], os.environ["CHAOS_ROUNDS"] = given.seed, str(given.rounds)
    print(f"seed {given.seed}, {given.rounds} rounds", flush=True)
    tally = Tally()
    options = ["-p", "no:cacheprovider", f"--timeout={CASE_SECONDS}", "-k", given.only]
    # What this module has imported pytest cannot rewrite any more; none of it asserts anything.
    known = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main(["tests/chaos", "-v", "-rsfP", *known, *options], plugins=[tally])
    print(f"seed {given.seed}, {given.rounds} rounds", flush=True)
    return conclude(tally.figures())


if __name__ == "__main__":
    sys.exit(main())
