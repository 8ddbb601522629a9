"""One service for all cases, an audit after each.

`CHAOS_ROUNDS` says how often a case repeats what it does (1), `CHAOS_SEED` what it draws (0).
"""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.audit import audit, digests, growth, orphans, resident
from tests.chaos.ledger import KINDS, Ledger, make_models, pace
from tests.chaos.tally import TALLY, Tally
from tests.chaos.world import World


@pytest.fixture(scope="session")
def rounds():
    return int(os.environ.get("CHAOS_ROUNDS", "1"))


@pytest.fixture
def draw(request):
    """Random numbers of this case; the same seed gives the same ones."""
    seed = f"{os.environ.get('CHAOS_SEED', '0')} {request.node.name}"
    print(f"seed: {seed}")
    return random.Random(seed)


@pytest.fixture
def turns(draw, rounds):
    """Deals choices in random order, `each` of them a round, all before one comes again."""

    def deal(choices, each=1):
        pack = []
        for _ in range(rounds * each):
            pack = pack or draw.sample(list(choices), len(choices))
            chosen = pack.pop()
            print(f"chosen: {chosen}")
            yield chosen

    return deal


@pytest.fixture(scope="session")
def tally(request):
    return request.config.stash.get(TALLY, None) or Tally()


@pytest.fixture
def long(rounds):
    """For what takes minutes even once."""
    if rounds == 1:
        pytest.skip("takes minutes: `make chaos` runs it")


@pytest.fixture(scope="package")
def models():
    # Outside pytest's own directories, of which it keeps three: workers need it to the end.
    with tempfile.TemporaryDirectory(prefix="secateur-models-") as directory:
        make_models(Path(directory))
        yield Path(directory)


@pytest.fixture(scope="package")
def world(models):
    # Short, and outside pytest's own directories: as root, PostgreSQL runs as another account.
    directory = Path(tempfile.mkdtemp(prefix="secateur-chaos-"))
    try:
        with World(directory, models) as world:
            yield world
        assert orphans(directory, ()) == []
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="package")
def references(world):
    """SHA-256 of the files of every kind of job, undisturbed."""
    pace(world)
    ledger = Ledger(world)
    jobs = {kind: ledger.submit(kind) for kind in KINDS}
    ended = ledger.finish(*jobs.values())
    assert {job["status"] for job in ended} == {"succeeded"}, ended
    return {kind: digests(world, job_id) for kind, job_id in jobs.items()}


@pytest.fixture
def ledger(world, references, tally):
    """Where a case submits its jobs; what it has done to the service is audited at its end."""
    ledger = Ledger(world)
    before = {name: (world.process(name).pid, size) for name, size in resident(world).items()}
    yield ledger
    found = audit(ledger, references)
    tally.add(found)
    print(f"audit: {str(found) or 'nothing'}")
    for name, (had, size) in growth(world, before).items():
        tally.worst("memory_grown_mib", size - had)
        print(f"memory of {name}: {had:.0f} -> {size:.0f} MiB")
    assert not str(found), f"the audit found\n{found}"
