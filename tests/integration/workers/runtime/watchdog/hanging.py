"""A worker's child as its watchdog sees it, without torch: takes a task, then hangs as it is told.

`python hanging.py KIND JOB ATTEMPT OWN`; writes a line once it hangs.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from workers.runtime.watchdog.watch import Drain, Watch


def main(kind, job_id, attempt, own):
    watch = Watch()
    with Drain(watch):
        if kind != "idle":
            watch.begins(*((job_id, int(attempt)) if job_id else ()), own=own == "own")
        helper = subprocess.Popen(["sleep", "1000"])
        sys.stdout.write(f"{watch._process.pid} {helper.pid}\n")
        sys.stdout.flush()
        match kind:
            case "gil":  # PyDLL keeps the GIL: no other thread of Python runs any more
                while True:  # signals interrupt it
                    ctypes.PyDLL(None).sleep(1000)
            case "native":  # CDLL lets it go, and no handler of a signal runs either
                while True:
                    ctypes.CDLL(None).sleep(1000)
            case "fifo":
                pipe = Path(mkdtemp()) / "model.safetensors"
                os.mkfifo(pipe)
                pipe.open("rb")
            case "busy":
                while True:
                    watch.moves()
                    time.sleep(0.05)
            case _:
                time.sleep(1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
