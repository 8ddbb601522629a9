"""Several workers of one machine: what each gets of it."""

import pytest

from app.local.process import LocalError
from app.local.workers import shares, worker_programs
from app.process import memory_limit
from app.settings import Settings

CARDS = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)
"""
DIVIDED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)
  MIG 3g.40gb     Device  0: (UUID: MIG-cccc-3)
  MIG 3g.40gb     Device  1: (UUID: MIG-dddd-4)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Says which GPUs there are, as the driver's tool does."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 8)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def has(listed):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
        tool.chmod(0o755)

    return has


def settings(**worker):
    return Settings(worker=worker, telemetry={"metrics_port": 9100})


def cards(found):
    return [share["CUDA_VISIBLE_DEVICES"] for share in found]


def test_memory_and_cores_are_divided(machine):
    machine("")
    first, second = shares(settings(), 2)
    assert first == second
    assert first == {
        "SECATEUR_WORKER__MEMORY_BYTES": str(memory_limit() // 2),
        "OMP_NUM_THREADS": "4",
    }


def test_what_is_said_of_one_worker_holds_for_each(machine, monkeypatch):
    machine(CARDS)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (share, _) = shares(settings(memory_bytes=5000, device="cpu"), 2)
    assert share == {"SECATEUR_WORKER__MEMORY_BYTES": "5000", "OMP_NUM_THREADS": "3"}


def test_each_has_a_gpu_of_its_own(machine, monkeypatch):
    machine(CARDS)
    assert cards(shares(settings(), 2)) == ["GPU-aaaa-1", "GPU-bbbb-2"]
    machine(DIVIDED)
    assert cards(shares(settings(device="cuda"), 2)) == ["MIG-cccc-3", "MIG-dddd-4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,6")
    assert cards(shares(settings(), 2)) == ["5", "7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" not in shares(settings(), 2)[0]


@pytest.mark.parametrize(("device", "count", "there"), [("auto", 3, 2), ("cuda:1", 2, 1)])
def test_more_workers_than_gpus_are_refused(machine, device, count, there):
    machine(CARDS)
    with pytest.raises(LocalError, match=f"{count} workers, and {there} GPUs"):
        shares(settings(device=device), count)


def test_one_worker_has_the_whole_machine(machine):
    machine(CARDS)
    (program,) = worker_programs(settings(), 1)
    assert program.name == "worker"
    assert "CUDA_VISIBLE_DEVICES" not in program.env
    assert program.env["SECATEUR_WORKER__MEMORY_BYTES"] == "0"


def test_each_answers_prometheus_at_a_port_of_its_own_and_leaves_one_for_maintenance(machine):
    machine("")
    programs = worker_programs(settings(), 3)
    assert [program.name for program in programs] == ["worker-1", "worker-2", "worker-3"]
    ports = [program.env["SECATEUR_TELEMETRY__METRICS_PORT"] for program in programs]
    assert ports == ["9100", "9102", "9103"]
