"""What KEDA asks the database, so as to scale workers, counts the jobs they are for."""

import pytest

from tests.unit.deploy.manifests import objects


@pytest.fixture
def wanted(engine):
    """How many workers of a class KEDA would start, by its own query and target."""
    found = {}
    for each in objects("ScaledObject"):
        [trigger] = each["spec"]["triggers"]
        assert trigger["metadata"]["targetQueryValue"] == "1"
        name = each["metadata"]["name"].removeprefix("secateur-")
        found[name] = trigger["metadata"]["query"]

    def ask(name):
        with engine.connect() as connection:
            return connection.exec_driver_sql(found[name]).scalar_one()

    return ask


def test_workers_are_wanted_for_jobs_of_their_class_until_they_end(client, worker, wanted):
    job = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
    assert wanted("worker-cpu") == 0
    first, second = (client.post("/v1/jobs", json=job).json()["id"] for _ in range(2))
    assert wanted("worker-cpu") == 2
    running = worker.claim()
    client.post(f"/v1/jobs/{first}/cancel")
    client.post(f"/v1/jobs/{second}/cancel")
    assert client.get(f"/v1/jobs/{running.id}").json()["status"] == "cancelling"
    assert wanted("worker-cpu") == 1
    assert wanted("worker-cuda") == 0
