"""A child without a watchdog is ended after its time, and no other child is."""

import os
import signal
import subprocess
import sys
import time

from workers.unwatched import Unwatched, children

PARENT = """
import subprocess, sys
below = "import sys; sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", below, *sys.argv[1:]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


def test_it_is_ended_after_the_bound_and_not_once_it_is_watched_again():
    now = [0.0]
    unwatched = Unwatched(30, lambda: now[0])
    assert unwatched.due({1: False, 2: True}) == []
    now[0] = 29
    assert unwatched.due({1: False, 2: False}) == []
    now[0] = 30
    assert unwatched.due({1: False, 2: False}) == [1]
    assert unwatched.due({1: True, 2: False}) == []
    now[0] = 59
    assert unwatched.due({1: False, 2: False}) == [2]
    assert unwatched.due({}) == []
    now[0] = 88
    assert unwatched.due({1: False, 2: False}) == []


def test_children_are_told_apart_by_their_watchdogs():
    def start(*told):
        command = [sys.executable, "-c", PARENT, *told]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return child, int(child.stdout.readline())

    (watched, watchdog), (plain, _) = start("-m", "workers.watchdog"), start()
    try:
        found = children()
        assert (found[watched.pid], found[plain.pid]) == (True, False)
        os.kill(watchdog, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while children()[watched.pid]:  # nobody reaps it
            assert time.monotonic() < deadline
    finally:
        for child in (watched, plain):
            child.communicate("\n", timeout=30)
