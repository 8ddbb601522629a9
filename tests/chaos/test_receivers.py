"""One project's receivers misbehave; another's hear of their jobs as if nothing was."""

from contextlib import ExitStack
from datetime import datetime

from sqlalchemy import text

from tests.chaos.receivers import MANNERS, Bad, Good

EVENTS = ["job.queued", "job.running", "job.succeeded"]
ENDPOINTS = 12  # of the attacker; a service may accept fewer

# What an older version accepted, or somebody wrote into the table by hand.
BROKEN = (
    "http://127.0.0.1:1/\x01",
    "http://[::1/",
    "http://127.0.0.1:99999/",
    "",
    "nonsense",
    "http://" + "a" * 300 + ".invalid/",
    "http://\u2603.invalid/\u2603",
    "http://127.0.0.1\r\nX-Injected: 1/",
)


def test_slow_receivers_of_one_project_hold_up_no_other(world, ledger, tally, draw, rounds):
    attacker, victim = (
        world.root.project(f"slow-{draw.random()}"),
        world.root.project(f"quick-{draw.random()}"),
    )
    with ExitStack() as stack:
        for number in range(ENDPOINTS):
            bad = stack.enter_context(Bad(MANNERS[number % len(MANNERS)]))
            attacker.ask("POST", "/v1/webhooks", json={"url": bad.url, "events": EVENTS})
        good = stack.enter_context(Good())
        victim.ask("POST", "/v1/webhooks", json={"url": good.url, "events": EVENTS})
        for _ in range(rounds):
            for _ in range(4):
                ledger.submit("quick", by=attacker)
            world.tend(2)
            heard(world, ledger, victim, good, tally)


def test_endpoints_that_cannot_be_right_hold_up_no_other(world, ledger, tally, draw):
    attacker, victim = (
        world.root.project(f"odd-{draw.random()}"),
        world.root.project(f"even-{draw.random()}"),
    )
    with Bad(MANNERS[-1]) as bad, Good() as good:
        for url in BROKEN:
            made = attacker.ask("POST", "/v1/webhooks", json={"url": bad.url, "events": EVENTS})
            with world.engine.begin() as connection:
                told = {"url": url, "id": made.json()["webhook"]["id"]}
                connection.execute(text("UPDATE webhooks SET url = :url WHERE id = :id"), told)
        victim.ask("POST", "/v1/webhooks", json={"url": good.url, "events": EVENTS})
        ledger.submit("quick", by=attacker)
        world.tend(2)
        heard(world, ledger, victim, good, tally)
        for endpoint in attacker.get("/v1/webhooks")["webhooks"]:
            attacker.ask("DELETE", f"/v1/webhooks/{endpoint['id']}")


def heard(world, ledger, victim, good, tally):
    """Submit jobs and measure how long after each end its message comes."""
    for _ in range(3):
        job_id = ledger.submit("quick", by=victim)
        ended = world.until(lambda: victim.get(f"/v1/jobs/{job_id}")["finished_at"])  # noqa: B023
        arrived = world.until(lambda: good.arrived.get((job_id, "job.succeeded")))  # noqa: B023
        delay = arrived - datetime.fromisoformat(ended).timestamp()
        tally.worst("delivery_delay_under_attack_s", delay)
