"""A sweep by real workers: members share a calibration and come out as single jobs do."""

import pytest

CALIBRATION = {"samples": 8, "batch_size": 4}


def weights(service, job_id):
    found = {file["path"]: file["sha256"] for file in service.artifacts(job_id)}
    return found["model.safetensors"], found["sparse/masks.safetensors"]


@pytest.mark.parametrize("method", ["multiflow", "ecoflap"])
def test_members_share_a_calibration_and_equal_single_jobs(service, method):
    request = {
        "model": "bert",
        "methods": [{"method": method}],
        "sparsities": [0.4, 0.5, 0.6],
        "calibration": CALIBRATION,
    }
    sweep = service.http.post("/v1/sweeps", json=request).json()
    path = f"/v1/sweeps/{sweep['id']}"
    while sweep["status"] not in {"succeeded", "failed"}:
        service.running.tend(0.05)
        sweep = service.http.get(f"{path}?wait=1").json()
    assert (sweep["status"], sweep["jobs"]) == ("succeeded", {"succeeded": 3})
    standings = service.http.get(f"{path}/leaderboard").json()["standings"]
    said = "using the calibration of the sweep's first job"
    shared = [said in service.messages(each["job_id"]) for each in standings]
    assert shared == [False, True, True]
    alone = service.submit(model="bert", method=method, sparsity=0.6, calibration=CALIBRATION)
    assert service.finish(alone)["status"] == "succeeded"
    assert weights(service, standings[2]["job_id"]) == weights(service, alone)
