"""What a worker's child process holds while it waits for jobs."""

import gc

import pytest

from workers.runtime import child


@pytest.fixture
def started(settings):
    child.start(settings, "secateur-worker")
    yield
    child.stop()
    gc.unfreeze()


@pytest.mark.usefixtures("started")
def test_collecting_garbage_after_a_job_passes_the_libraries_over():
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10
