"""Maintenance that is asked to end does so, whatever hangs."""

import subprocess
import sys

HANGS = """
import logging, threading, time
from app.maintenance import _end_in_time
logging.basicConfig()
stop = threading.Event()
threading.Thread(target=_end_in_time, args=(stop, 0.1), daemon=True).start()
threading.Thread(target=time.sleep, args=(600,)).start()
stop.set()
time.sleep(600)
"""


def test_a_process_that_hangs_ends_after_its_grace():
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120, check=True
    )
    assert "maintenance did not end within 0.1 s" in ended.stderr
