"""How many modules a reader opens to follow one Wanda job, from its claim to its published files.

Run with `-s` to see the list.
"""

import inspect
import sys
import threading
from contextlib import contextmanager

from app.db import jobs
from app.domain.jobs import JobStatus, NewJob
from app.domain.projects import DEFAULT_PROJECT
from app.domain.submission import JobRequest, resolve
from tests.integration.documented_modules import documented_modules

MOST = 45  # modules of `workers`
REQUEST = JobRequest(
    model="llava",
    method="wanda",
    sparsity=0.5,
    calibration={"set": "shapes", "samples": 4, "batch_size": 2},
    device="cpu",
)


@contextmanager
def functions_traced():
    """Yields the set of code objects of functions that run, of all threads started inside."""
    ran = set()

    def note(frame, event, _argument):
        if event == "call":
            ran.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield ran
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def modules_of(ran, package):
    """Names of the package's modules of which a function ran; what an import runs is none."""
    files = {code.co_filename for code in ran if code.co_flags & inspect.CO_OPTIMIZED}
    loaded = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return sorted(
        name for name, file in loaded.items() if file in files and name.startswith(package)
    )


def test_a_wanda_job_runs_through_few_modules(engine, runner):
    new = NewJob(request=REQUEST, spec=resolve(REQUEST), max_attempts=1)
    with engine.begin() as connection:
        job, _ = jobs.queue(connection, new, key_id="", action=None)
    with functions_traced() as ran:
        assert runner.run(job.id)
    with engine.connect() as connection:
        assert jobs.get(connection, DEFAULT_PROJECT, job.id).status is JobStatus.SUCCEEDED
    modules = modules_of(ran, "workers.")
    print(f"{len(modules)} modules:", *modules, sep="\n")  # noqa: T201  the list is for a reader
    assert len(modules) <= MOST
    assert {name.removeprefix("workers.") for name in modules} <= documented_modules()
