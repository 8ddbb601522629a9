"""What KEDA asks the database, so as to scale workers, counts the jobs they are for."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

KUBERNETES = Path(__file__).parents[5] / "deploy/kubernetes"


@pytest.fixture
def wanted(engine):
    """How many workers of a class KEDA would start, by its own query and target."""
    found = {}
    for file in ("scaling.yaml", "cuda/worker.yaml"):
        for each in YAML(typ="safe").load_all(KUBERNETES / file):
            if each["kind"] == "ScaledObject":
                [trigger] = each["spec"]["triggers"]
                assert trigger["metadata"]["targetQueryValue"] == "1"
                found[each["metadata"]["name"]] = trigger["metadata"]["query"]

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
