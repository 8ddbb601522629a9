"""An HTTP server of uvicorn's in a thread of the test."""

import threading
import time
from contextlib import contextmanager


@contextmanager
def in_thread(server):
    """In here the server answers."""
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join()
