"""Connections to database and broker are cut, refused and stalled between the processes."""

import pytest

from tests.chaos.proxy import Wire

CUTS = 12


@pytest.mark.parametrize("side", ["database", "broker"])
def test_cut_connections_lose_nothing(world, ledger, draw, rounds, side):
    proxy = getattr(world, side)
    for _ in range(rounds):
        jobs = [ledger.submit(kind) for kind in ("deep", "quick", "pair", "quick")]
        with world.disturbed():
            for _ in range(CUTS):
                world.tend(draw.uniform(0, 0.6))
                proxy.cut()
            proxy.refuse()
            world.tend(draw.uniform(0.5, 2))
            proxy.heal()
            proxy.stall()
            world.tend(draw.uniform(0.5, 2))
            proxy.heal()
        ledger.finish(*jobs)


@pytest.mark.parametrize("delivered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["quick", "deep"])
def test_the_last_commit_of_a_job_is_cut(world, ledger, rounds, kind, delivered):
    """Before it reached the database, or after: then it counts although the answer is lost."""
    for _ in range(rounds):
        with world.disturbed():
            world.database.cut()  # a new connection spells its statements out
            wire = Wire(b"INSERT INTO artifacts", b"COMMIT", delivered=delivered)
            world.database.trip(wire)
            job_id = ledger.submit(kind)
            [job] = ledger.finish(job_id)
            assert wire.cut.is_set()
        assert job["status"] == "succeeded", job
        assert job["attempt"] <= 2


@pytest.mark.parametrize("delivered", [False, True], ids=["before", "after"])
def test_the_acknowledgement_of_a_message_is_cut(world, ledger, rounds, delivered):
    """Each worker loses one in turn, and works on."""
    for _ in range(rounds):
        for _ in world.workers:
            with world.disturbed():
                wire = Wire(b"ZREM", b"unacked", delivered=delivered)
                world.broker.trip(wire)
                ledger.finish(ledger.submit("quick"))
                assert wire.cut.wait(30)
        ledger.finish(*[ledger.submit("quick") for _ in range(4)])
