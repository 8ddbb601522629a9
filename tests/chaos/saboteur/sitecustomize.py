"""Python imports this in every worker of the chaos suite: a signal makes its main thread misbehave.

Only the suite puts this directory on PYTHONPATH. SIGRTMIN+1 and so on stand for the entries of
`DEEDS`, in this order; a forked child keeps the handlers of its parent.
"""

import ctypes
import os
import signal
import time

FOR_EVER = 10**6  # seconds


def wait() -> None:
    """Hang as a read of a dead NFS does: this thread sleeps, the others go on."""
    time.sleep(FOR_EVER)


def hold() -> None:
    """Hang inside native code that keeps the interpreter's lock: no thread goes on."""
    ctypes.PyDLL(None).sleep(FOR_EVER)


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


def eat() -> None:
    """Take memory until there is none."""
    eaten = []
    while True:
        eaten.append(bytearray(32 << 20))


def abort() -> None:
    """Die as native code does that finds its memory corrupted."""
    os.abort()


DEEDS = {deed.__name__: deed for deed in (wait, hold, spin, eat, abort)}
SIGNALS = {name: signal.SIGRTMIN + number for number, name in enumerate(DEEDS, start=1)}

if __name__ == "sitecustomize":  # not where the suite itself reads the numbers
    for _name, _deed in DEEDS.items():
        signal.signal(SIGNALS[_name], lambda *_, deed=_deed: deed())
