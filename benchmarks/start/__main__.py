"""`make bench-start`: where the time of a small job goes on a warm worker, phase by phase.

Times are those of the job's events, which are the database's. What the service adds is all but the
phase in which blocks are pruned: from the submit to the first block, and from the last one to the
end. CPU seconds are those of the worker's child.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from statistics import median

import psutil

from app.domain.jobs import Phase
from app.local.supervisor import Stopped
from benchmarks.figures import Figure, conclude
from benchmarks.workers.service import Answer, Service, service

MOST = 0.5  # seconds
ROUNDS = 15
CALIBRATED = {"calibration": {"set": "scenes", "samples": 8, "batch_size": 8}}
JOBS: Mapping[str, Answer] = {
    "magnitude, LLaVA": {"model": "scenes-llava", "method": "magnitude", "sparsity": 0.5},
    "wanda, LLaVA": {"model": "scenes-llava", "method": "wanda", "sparsity": 0.5} | CALIBRATED,
    "magnitude, CLIP": {"model": "scenes-clip", "method": "magnitude", "sparsity": 0.5},
}
QUEUED = "queued"  # until a worker has claimed it


def phases(running: Service, path: str) -> dict[str, float]:
    """Seconds in each phase of a job that has ended, in their order; the first is the queue."""
    job, found = running.get(path), running.get(f"{path}/events?limit=1000")["events"]
    started = next(each for each in found if each["message"] == "running")
    marks = [(QUEUED, job["created_at"]), ("claimed", started["at"])]
    marks += [(each["message"], each["at"]) for each in found if each["type"] == "phase"]
    marks += [("", job["finished_at"])]
    times = [datetime.fromisoformat(at) for _, at in marks]
    seconds: dict[str, float] = defaultdict(float)
    for (name, _), begin, end in zip(marks, times, times[1:], strict=False):
        seconds[name] += (end - begin).total_seconds()
    return seconds


def measure(running: Service, name: str, body: Answer) -> dict[str, Figure]:
    """The medians of some jobs that run one after the other."""
    worker = psutil.Process(running.worker_pids[0]).children()[0]
    taken, computed = [], []
    for _ in range(ROUNDS):
        before = worker.cpu_times()
        path = running.submit("/v1/jobs", body)
        running.ended(path)
        after = worker.cpu_times()
        taken.append(phases(running, path))
        computed.append(after.user + after.system - before.user - before.system)
    figures = {
        f"{name}: {phase}, s": Figure(median(each[phase] for each in taken)) for phase in taken[0]
    }
    added = [sum(each.values()) - each[Phase.PRUNING] for each in taken]
    figures[f"{name}: worker's CPU, s"] = Figure(median(computed))
    figures[f"{name}: added to the blocks, s"] = Figure(median(added), most=MOST)
    return figures


def main() -> int:
    """Measure everything; an exit code of zero where every target is reached."""
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True)
    figures: dict[str, Figure] = {}
    try:
        with service() as running, running.workers(1, JOBS["wanda, LLaVA"]):
            for name, body in JOBS.items():
                figures |= measure(running, name, body)
    except Stopped:
        return 130
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
