"""How many modules a submit runs through: what a reader has to open to follow one."""

import sys
import threading
from pathlib import Path

import pytest

from tests.integration.documented_modules import documented_modules

APP = Path(sys.modules["app"].__path__[0])
# How many modules a reader may be asked to open.
MOST = 25
SUBMITS = {
    "plain": {"method": "wanda", "sparsity": 0.5},
    "with data and labels": {
        "method": "wanda",
        "sparsity": 0.5,
        "calibration": {"set": "sentences", "samples": 16},
        "evaluation": {"set": "shapes"},
        "labels": {"team": "vision"},
    },
}


def begins(frame):
    """Is a function entered? A coroutine that goes on is not: it may be of another request."""
    return frame.f_code.co_code[frame.f_lasti + 1] == 0


class Trace:
    """The modules of `app` in which a function runs while it is on, in every thread since."""

    def __init__(self):
        self.on = False
        self.modules = {}

    def __call__(self, frame, event, _):
        code = frame.f_code
        if self.on and event == "call" and begins(frame) and code.co_name != "<module>":
            file = Path(code.co_filename)
            if file.is_relative_to(APP):
                name = ".".join(file.relative_to(APP.parent).with_suffix("").parts)
                self.modules.setdefault(name.removesuffix(".__init__"), code.co_name)


@pytest.fixture
def trace():
    """On in the threads that start while the test runs: the API's loop and its pool."""
    trace = Trace()
    threading.setprofile(trace)
    yield trace
    threading.setprofile(None)


@pytest.mark.parametrize("body", SUBMITS.values(), ids=SUBMITS)
def test_a_submit_runs_through_few_modules(trace, client, checkpoint, body):
    # What the process does once, for its first requests: build routes, listen for events.
    assert client.get("/readyz").status_code == 200
    assert client.get("/v1/absent").status_code == 404
    trace.on = True
    answer = client.post("/v1/jobs", json=body | {"model": str(checkpoint.parent)})
    trace.on = False
    assert answer.status_code == 202, answer.text
    walk = [f"{name} (first {function})" for name, function in trace.modules.items()]
    walk = [f"{len(walk)} modules of app/ run between a submit and its answer", *walk]
    sys.stdout.write("\n  ".join(["", *walk, ""]))
    assert {"app.api.jobs.router", "app.services.jobs.submit"} <= trace.modules.keys()
    assert len(trace.modules) <= MOST
    assert {name.removeprefix("app.") for name in trace.modules} <= documented_modules()
