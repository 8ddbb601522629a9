"""A runner of jobs in the test's own process."""

import pytest

from app.planning.machines import Machine
from app.storage.checkpoints import CheckpointStore
from app.storage.store import open_store
from tests.families import BY_NAME
from workers.pipeline.context import ModelAccess
from workers.runtime.runner import Runner
from workers.runtime.watchdog.watch import Watch

MACHINE = Machine("cpu", 1 << 34, 1, "cpu", 0, None, gflops=50.0, disk_rate=1e9)


@pytest.fixture
def runner(engine, queue, tmp_path):
    BY_NAME["llava"].build(tmp_path / "models" / "llava")
    watch = Watch()
    yield Runner(
        engine=engine,
        store=open_store(tmp_path / "store", None, None),
        models=ModelAccess((tmp_path / "models",), "http://127.0.0.1:1", tmp_path),
        device="cpu",
        datasets=tmp_path / "datasets",
        checkpoints=CheckpointStore(tmp_path / "checkpoints"),
        checkpoint_bytes=1 << 30,
        activation_bytes=1 << 30,
        lease_seconds=300,
        heartbeat_seconds=60,
        machine=MACHINE,
        queue=queue,
        watch=watch,
    )
    watch.close()
