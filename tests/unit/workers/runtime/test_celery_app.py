"""What the parent of a worker does before it forks."""

import os
import subprocess
import sys

from app.local.valkey import free_port

# Stands for a harness: offers a task whose name is what the probe answered meanwhile.
PROBES = """#!{python}
import json, urllib.error, urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:{port}/readyz")
except urllib.error.HTTPError as error:
    print(json.dumps({{"tasks": [f"answered-{{error.code}}"], "left_out": {{}}}}))
"""
STARTS = """
from celery.signals import worker_init
from workers.runtime import celery_app

class Controller:
    options = {}

worker_init.send(sender=Controller)
print(celery_app._offers)
"""


def test_probes_are_answered_while_harnesses_say_what_they_have(tmp_path):
    """That may take minutes, and who gets no answer ends the worker before."""
    port, program = free_port(), tmp_path / "python"
    program.write_text(PROBES.format(python=sys.executable, port=port))
    program.chmod(0o755)
    surroundings = os.environ | {
        "SECATEUR_DATA_DIR": str(tmp_path),
        "SECATEUR_TASKS__LM_EVAL": str(program),
        "SECATEUR_TELEMETRY__METRICS_PORT": str(port),
    }
    command = [sys.executable, "-c", STARTS]
    done = subprocess.run(
        command, env=surroundings, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['lm-eval/answered-503']", done.stderr
