"""SIGKILL to every process of the service, while jobs run and clients submit."""

KINDS = ["worker child", "worker", "api", "maintenance", "valkey", "postgres"]


def test_no_death_loses_a_job(world, ledger, draw, turns):
    for victim in turns(KINDS, each=2):
        job_id = ledger.submit("deep")
        ledger.submit(draw.choice(("quick", "pair")))
        ledger.running(job_id)
        world.tend(draw.uniform(0, 1.5))
        world.kill(victim.replace("worker", ledger.worker_of(job_id)))
        ledger.submit("quick")
