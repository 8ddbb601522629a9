import subprocess
import sys


def test_service_and_worker_parent_stay_without_torch():
    code = "import app.main, workers.runtime.celery_app, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_worker_parent_has_counted_nothing_before_it_forks():
    """Children count in files; which ones is settled before a metric is made."""
    code = "import workers.runtime.celery_app, workers.runtime.tasks, sys; "
    code += "assert 'app.telemetry.metrics.worker' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
