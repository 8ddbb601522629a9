"""Searches for the smallest model within a quality gate, in jobs over HTTP."""

import os
import signal

import psutil
import pytest

from app.reports.figures import percent

SCENES = {"evaluation": {"set": "scenes", "samples": 8, "metrics": ["kl"]}}


def gate(metric, most):
    return {"quality_gate": {"metric": metric, "max_drop": most}}


def tried_of(job, axis):
    return [each for each in job["result"]["search"]["tried"] if each["axis"] == axis]


def test_a_job_looks_for_the_sparsest_model_within_its_gate(service, tmp_path):
    most = 1.1e-5  # random weights hardly move the embeddings
    asked = {"model": "bert", "method": "wanda", "sparsity": "auto", "calibration": {"samples": 16}}
    asked |= {"evaluation": {"set": "sentences", "samples": 24}} | gate("similarity", most)
    planned = service.http.post("/v1/plans", json=asked).json()
    assert planned["evaluations"] == 7
    done = service.finish(service.submit(**asked), seconds=300)  # it is six jobs in one
    assert done["status"] == "succeeded", done
    found = done["result"]["search"]
    best = next(each for each in found["tried"] if each["sparsity"] == found["found"])
    assert done["result"]["sparsity"] == pytest.approx(found["found"], abs=1e-3)
    assert best["drop"] <= best["at_worst"] <= most
    assert all(each["at_worst"] > most for each in found["tried"] if not each["qualifies"])
    card = (service.download(done["id"], tmp_path) / "README.md").read_text()
    assert f"The largest share within the gate: sparsity {percent(found['found'], 2)};" in card


def test_one_modality_is_searched_after_the_other_also_when_the_worker_is_killed(service):
    most = 0.06
    sparsity = {"vision": "auto", "language": "auto"}
    asked = {"model": "loud-llava", "method": "magnitude", "sparsity": sparsity} | SCENES
    asked |= gate("kl", most)
    assert service.http.post("/v1/plans", json=asked).json()["evaluations"] == 13
    alone = service.finish(service.submit(**asked), seconds=300)
    assert alone["status"] == "succeeded", alone
    chosen = alone["result"]["search"]["chosen"]
    assert list(chosen) == ["vision", "language"]
    for axis, allowed in (("vision", most / 2), ("language", most)):
        best = [each for each in tried_of(alone, axis) if each["qualifies"]]
        assert max(each["sparsity"] for each in best) == chosen[axis]
        assert all(each["at_worst"] <= allowed for each in best)
        assert all(each["at_worst"] > allowed for each in tried_of(alone, axis) if each not in best)
    assert alone["result"]["modalities"] == pytest.approx(chosen, abs=1e-3)

    killed = service.submit(**asked)
    service.wait(killed, lambda job: len(service.messages(job["id"])) > 12, seconds=120)
    run = service.running.settings.data_dir / "run" / "worker"
    os.kill(psutil.Process(int(run.read_text().split()[0])).children()[0].pid, signal.SIGKILL)
    again = service.finish(killed, seconds=300)
    assert (again["status"], again["attempt"]) == ("succeeded", 2)
    assert again["result"]["search"] == alone["result"]["search"]
    digests = [
        {each["path"]: each["sha256"] for each in service.artifacts(job["id"])}
        for job in (alone, again)
    ]
    assert digests[0]["model.safetensors"] == digests[1]["model.safetensors"]


def test_the_smallest_structure_within_a_gate_is_found(service):
    most = 1e-3
    asked = {"model": "llava", "method": "width", "target_parameters": "auto"} | SCENES
    asked |= {"calibration": {"set": "scenes", "samples": 8}} | gate("kl", most)
    done = service.finish(service.submit(**asked), seconds=300)
    assert done["status"] == "succeeded", done
    chosen = done["result"]["search"]["chosen"]["structure"]
    (best,) = [each for each in tried_of(done, "structure") if each["removed"] == chosen]
    assert best["at_worst"] <= most
    structure = done["result"]["structure"]
    assert structure["parameters_kept"] == best["parameters"] < structure["parameters"]
    sizes = {each["removed"]: each["parameters"] for each in tried_of(done, "structure")}
    assert sorted(sizes.values(), reverse=True) == [sizes[removed] for removed in sorted(sizes)]


def test_a_gate_that_nothing_passes_fails_the_search_and_tells_what_it_saw(service):
    asked = {"model": "llava", "method": "magnitude", "sparsity": {"language": "auto"}} | SCENES
    done = service.finish(service.submit(**asked, **gate("kl", 0.0)), seconds=300)
    assert (done["status"], done["error"]["code"]) == ("failed", "quality_gate_failed")
    found = done["result"]["search"]
    assert found["found"] is None
    assert found["tried"]
    assert not any(each["qualifies"] for each in found["tried"])
    assert service.artifacts(done["id"]) == []
