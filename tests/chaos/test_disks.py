"""The disk of the service's files is full, or can only be read, for a while."""

import json
import resource

import psutil
import pytest

ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(2000))
NONE = resource.RLIM_INFINITY


def upload(world):
    """Upload a data set; whatever comes of it, it is said in words."""
    answer = world.root.http.post(
        "/v1/datasets", content=ROWS, headers={"Content-Type": "application/jsonl"}
    )
    world.judge(answer)
    assert answer.headers["content-type"].partition(";")[0].endswith("json"), answer.text
    return answer.status_code


@pytest.fixture
def disk(world):
    if not world.disk.mounted:
        pytest.skip("this account may not mount a disk that can be filled")
    return world.disk


def disturb(world, ledger, draw):
    """Jobs in all states while the disk is of no use."""
    job_id = ledger.submit("deep")
    ledger.running(job_id)
    world.tend(draw.uniform(0, 1))
    return job_id


def test_a_full_disk_loses_nothing(world, ledger, disk, draw, rounds):
    for _ in range(rounds):
        disturb(world, ledger, draw)
        with world.disturbed(), disk.full():
            ledger.submit("quick")
            if rounds > 1:  # `make chaos`
                assert upload(world) >= 400 or disk.has_room  # made by a job that ended just now
            world.tend(draw.uniform(2, 4))
        ledger.submit("quick")


def test_a_read_only_disk_loses_nothing(world, ledger, disk, draw, rounds):
    for _ in range(rounds):
        disturb(world, ledger, draw)
        with world.disturbed(), disk.read_only():
            ledger.submit("deep")
            ledger.submit("quick")
            assert upload(world) >= 400
            world.tend(draw.uniform(2, 4))
        ledger.submit("quick")


def test_processes_that_may_write_no_more_lose_nothing(world, ledger, draw, rounds):
    """As on a full disk, where none can be mounted: the kernel refuses every byte (EFBIG)."""
    for _ in range(rounds):
        job_id = disturb(world, ledger, draw)
        limited = [*world.family(ledger.worker_of(job_id)), world.process("api")]
        logs = max(process.log.stat().st_size for process in world.processes.values())
        with world.disturbed():
            for each in limited:
                each.rlimit(psutil.RLIMIT_FSIZE, (logs + (1 << 16), NONE))
            try:
                upload(world)
                world.tend(draw.uniform(2, 4))
            finally:
                for each in limited:
                    if each.is_running():
                        each.rlimit(psutil.RLIMIT_FSIZE, (NONE, NONE))
        ledger.submit("quick")
