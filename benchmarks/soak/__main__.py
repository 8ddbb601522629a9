"""`make bench-soak`: ten minutes of mixed load with 200 watchers.

Memory counts from minute 2 on (a fifth of the run). `--minutes` and `--watchers` make it shorter.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.api.client import Server
from benchmarks.figures import Figure, conclude
from benchmarks.soak import watchers
from benchmarks.soak.load import loading
from benchmarks.soak.notes import Notes
from benchmarks.soak.samples import Samples, watch
from tests.chaos.audit import Findings, audit, digests
from tests.chaos.ledger import KINDS, Ledger, make_models
from tests.chaos.world import World

POLLS = 0.25  # share of the watchers that poll
LIMITS = {"requests_per_minute": 10**6, "queued_jobs": 10**5}


def soak(world: World, minutes: float, watching: int) -> tuple[Notes, Samples, Findings]:
    """Load the service for so long, then audit what it did."""
    first = Ledger(world)
    jobs = {kind: first.submit(kind) for kind in KINDS}
    first.finish(*jobs.values())
    references = {kind: digests(world, job_id) for kind, job_id in jobs.items()}
    for project in world.root.get("/v1/projects")["projects"]:
        world.root.ask("PATCH", f"/v1/projects/{project['id']}", json=LIMITS)
    notes, ledger = Notes(time.monotonic() + 60 * minutes), Ledger(world)
    server = Server(world.settings.api.port, world.root.key)

    async def wait() -> None:
        polls = round(watching * POLLS)
        await asyncio.gather(
            *(watchers.poll(server, notes) for _ in range(polls)),
            *(watchers.stream(server, notes) for _ in range(watching - polls)),
        )

    waiting = threading.Thread(target=asyncio.run, args=(wait(),))
    with loading(world, ledger, notes):
        waiting.start()
        samples = watch(world, 60 * minutes)
    # Jobs that are still queued have their watchers; all of them end.
    ledger.finish(*[sent.id for sent in ledger.sent if sent.by is world.root][-1:])
    waiting.join()
    return notes, samples, audit(ledger, references)


def figures(notes: Notes, samples: Samples, found: Findings) -> dict[str, Figure]:
    """What was measured, beside its targets."""
    counted = {
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "differing": len(found.differing),
        "unexpected_5xx": len(found.unexpected_5xx),
        "errors": len(notes.errors),
        "processes_died": samples.died,
        "processes_left": len(found.processes_left),
        "files_left": len(found.files_left),
    }
    told = {name: Figure(count, most=0) for name, count in counted.items()}
    told["api_memory_growth_percent"] = Figure(samples.growth("api"), most=10)
    delays = notes.seconds.get("delivery", [float("inf")])
    told["delivery_delay_under_attack_s"] = Figure(max(delays), most=5)
    told |= {f"p99 of {kind}, ms": Figure(value) for kind, value in notes.p99().items()}
    told |= {f"requests: {kind}": Figure(len(all_)) for kind, all_ in notes.seconds.items()}
    for name, seen in samples.memory.items():
        told[f"memory of {name}, MiB"] = Figure(max(size for _, size in seen))
        told[f"connections of {name}"] = Figure(samples.connections[name])
    return told


def main() -> int:
    """Soak; an exit code of zero where every target is reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--watchers", type=int, default=200)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="secateur-soak-") as directory:
        models = Path(directory) / "models"
        make_models(models)
        place = Path(directory) / "service"
        place.mkdir()
        with World(place, models) as world:
            notes, samples, found = soak(world, given.minutes, given.watchers)
    for sentence in [*notes.errors[:50], *str(found).splitlines()[:50]]:
        print(sentence)
    return conclude(figures(notes, samples, found))


if __name__ == "__main__":
    sys.exit(main())
