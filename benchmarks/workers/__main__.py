"""`make bench-workers`: wall time of one job and of a sweep, with one worker and with two.

Workers run one thread each; on a machine with fewer than two idle cores the ratios say nothing, so
the load is printed first.
"""

import os
import sys
from collections.abc import Callable

from app.local.supervisor import Stopped
from benchmarks.figures import Figure, conclude
from benchmarks.workers.service import Answer, Digests, Service, seconds, service

MODEL = {"model": "scenes-llava"}
ZEROTH_ORDER = MODEL | {
    "method": "ecoflap",
    "sparsity": 0.5,
    "parameters": {"estimator": "zeroth-order", "samples": 64, "draws": 5},
    "calibration": {"set": "scenes", "samples": 64, "batch_size": 8},
}
MANY = {"calibration": {"set": "scenes", "samples": 512, "batch_size": 8}}
METHOD, SPARSITIES = "multiflow", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SWEEP = MODEL | MANY | {"methods": [{"method": METHOD}], "sparsities": SPARSITIES}
SINGLES = [MODEL | MANY | {"method": METHOD, "sparsity": sparsity} for sparsity in SPARSITIES]
WARM_UP = ZEROTH_ORDER | {
    "parameters": {"estimator": "zeroth-order", "samples": 8},
    "calibration": {"set": "scenes", "samples": 8, "batch_size": 8},
}

Result = tuple[float, list[Digests]]


def job(running: Service) -> Result:
    """One zeroth-order job; idle workers take parts of its measurement."""
    ended = running.ended(running.submit("/v1/jobs", ZEROTH_ORDER))
    return seconds(ended), [running.weights(ended["id"])]


def sweep(running: Service) -> Result:
    """All sparsities as one sweep; its first job calibrates, the others use that."""
    path = running.submit("/v1/sweeps", SWEEP)
    ended = running.ended(path)
    standings = running.get(f"{path}/leaderboard")["standings"]
    return seconds(ended), [running.weights(each["job_id"]) for each in standings]


def singles(running: Service) -> Result:
    """The same jobs submitted one by one; each calibrates for itself."""
    paths = [running.submit("/v1/jobs", each) for each in SINGLES]
    ended: list[Answer] = [running.ended(path) for path in paths]
    return seconds(*ended), [running.weights(each["id"]) for each in ended]


PARTS: dict[str, Callable[[Service], Result]] = {
    "zeroth-order job": job,
    f"sweep of {len(SPARSITIES)}": sweep,
    f"{len(SPARSITIES)} single jobs": singles,
}


def measure(running: Service, count: int) -> dict[str, Result]:
    """Every part with so many workers."""
    found = {}
    with running.workers(count, WARM_UP):
        for name, part in PARTS.items():
            found[name] = part(running)
            print(f"{name}, {count} worker(s): {found[name][0]:.1f} s", flush=True)
    return found


def figures(one: dict[str, Result], two: dict[str, Result]) -> dict[str, Figure]:
    """Seconds, ratios, and whether the files are the same whoever made them."""
    found = {}
    for name in PARTS:
        (alone, files), (together, same) = one[name], two[name]
        found[f"{name}, 1 worker, s"] = Figure(alone)
        found[f"{name}, 2 workers, s"] = Figure(together)
        found[f"{name}, 2 workers / 1"] = Figure(together / alone)
        found[f"{name}, same files"] = Figure(float(all(files) and files == same), least=1)
    _, swept, single = PARTS
    for count, results in enumerate((one, two), start=1):
        ratio = results[swept][0] / results[single][0]
        found[f"sweep / single jobs, {count} worker(s)"] = Figure(ratio)
    equal = one[swept][1] == one[single][1]
    found["sweep and single jobs, same files"] = Figure(float(equal), least=1)
    return found


def main() -> int:
    """Measure everything; an exit code of zero where all files are the same."""
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True)
    try:
        with service() as running:
            one, two = measure(running, 1), measure(running, 2)
    except Stopped:
        return 130
    return conclude(figures(one, two))


if __name__ == "__main__":
    sys.exit(main())
