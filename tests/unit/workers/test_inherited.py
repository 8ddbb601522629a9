"""A child that lives on keeps no connection of its parent's open."""

import os
import signal
import socket

from workers.inherited import release_sockets


def test_a_connection_that_the_parent_closes_is_closed(tmp_path):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            release_sockets()
            ours.close()  # what came along may be closed, and closes nothing else
            os.write(writing, b"released")
            signal.pause()
        finally:
            os._exit(0)
    try:
        assert os.read(reading, 8) == b"released", "pipes stay"
        ours.close()
        assert theirs.recv(1) == b"", "nobody else holds it"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        theirs.close()
        os.close(reading)
        os.close(writing)
