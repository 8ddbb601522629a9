"""Everything at once: faults drawn at random, while several clients submit and read."""

from tests.chaos.test_killed import KINDS

FAULTS = 5  # a round


def test_nothing_is_lost_in_a_storm(world, ledger, draw, rounds):
    def killed():
        world.kill(draw.choice(KINDS).replace("worker", draw.choice(world.workers)))

    def stopped():
        victim = draw.choice(KINDS).replace("worker", draw.choice(world.workers))
        with world.stopped(victim):
            world.tend(draw.uniform(0.2, 4))

    def cut():
        for _ in range(draw.randint(1, 5)):
            draw.choice((world.database, world.broker)).cut()
            world.tend(draw.uniform(0, 0.5))

    def stalled():
        proxy = draw.choice((world.database, world.broker))
        proxy.stall()
        world.tend(draw.uniform(0.2, 4))
        proxy.heal()

    def refused():
        proxy = draw.choice((world.database, world.broker))
        proxy.refuse()
        world.tend(draw.uniform(0.2, 4))
        proxy.heal()

    def full():
        with world.disk.full():
            world.tend(draw.uniform(0.2, 4))

    faults = [killed, stopped, cut, stalled, refused, *([full] if world.disk.mounted else [])]
    for _ in range(rounds):
        with world.disturbed():
            for _ in range(FAULTS):
                ledger.submit(draw.choice(("deep", "quick", "pair")))
                world.tend(draw.uniform(0, 1))
                fault = draw.choice(faults)
                print(f"fault: {fault.__name__}")
                fault()
