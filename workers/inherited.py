"""What a forked child must let go of."""

import os
import stat
from pathlib import Path

_OPEN = Path("/dev/fd")
_STANDARD = 2  # input, output and errors may be sockets, and are the child's as well


def release_sockets() -> None:
    """Let go of the parent's sockets; their numbers stay taken, by a device that says nothing.

    A connection to the broker that the parent closes stays open as long as a child holds it, and
    the parent's event loop then goes round and round: its poller reports a descriptor that cannot
    be removed any more.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(each.name) for each in _OPEN.iterdir()]:
        if number > _STANDARD and _is_socket(number):
            # Not closed: objects that have come along would close whatever has the number then.
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:  # it was that of the listing
        return False
