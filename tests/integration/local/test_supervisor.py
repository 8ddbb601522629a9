"""The supervisor restarts what dies, reports it, and ends everything when a signal asks."""

import os
import signal
import sys
import threading
import time

import psutil
import pytest

from app.local.process import LocalError, Process, Program
from app.local.supervisor import SIGNALS, Stopped, Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def child(tmp_path):
    return Process(Program(name="child", argv=SLEEP), tmp_path)


def signal_soon(number: int) -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()


def test_a_dead_child_is_reported_and_started_again(child):
    reports = []
    with Supervisor(reports.append) as supervisor:
        supervisor.run(child)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        supervisor.tend(1.5)
        assert child.alive
        assert child.pid != first
    assert len(reports) == 2
    assert reports[0] == "starting child"
    assert "child ended; starting it again in 0.5 s" in reports[1]


def test_a_child_that_keeps_dying_is_left_alone_ever_longer(tmp_path):
    process = Process(Program(name="doomed", argv=[sys.executable, "-c", ""]), tmp_path)
    process.ready = lambda: True
    reports = []
    with Supervisor(reports.append) as supervisor:
        supervisor.run(process)
        supervisor.tend(3.3)  # it begins after 0, .5 and 1.5 s, and then after 3.5
    assert [text.partition(" again in ")[2].partition(" s")[0] for text in reports[1:]] == [
        "0.5",
        "1",
        "2",
    ]


@pytest.fixture
def heeded():
    """Signals that are not ignored, as SIGHUP is where the tests run under nohup."""
    inherited = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_wait_and_every_child(child, number):
    before = signal.getsignal(number)
    pids = []

    def run() -> None:
        with Supervisor(print) as supervisor:
            supervisor.run(child)
            pids.append(child.pid)
            signal_soon(number)
            supervisor.tend(60)

    with pytest.raises(Stopped):
        run()
    assert not psutil.pid_exists(pids[0])
    assert signal.getsignal(number) is before


def test_a_signal_while_a_child_gets_ready_ends_it_too(child):
    child.ready = lambda: False
    started = time.monotonic()

    def run() -> None:
        with Supervisor(print) as supervisor:
            signal_soon(signal.SIGINT)
            supervisor.run(child)

    with pytest.raises(Stopped):
        run()
    assert not child.alive
    assert time.monotonic() - started < 5


def test_a_child_that_cannot_start_is_not_tried_again(tmp_path):
    program = Program(name="broken", argv=[sys.executable, "-c", "raise SystemExit('no luck')"])
    process = Process(program, tmp_path)
    process.ready = lambda: False
    with (
        pytest.raises(LocalError, match=r"broken ended at once\.\nno luck"),
        Supervisor(print) as supervisor,
    ):
        supervisor.run(process)


def test_a_program_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(LocalError, match="cannot run /nowhere"):
        Process(Program(name="absent", argv=["/nowhere"]), tmp_path).start()
