import subprocess
import sys


def test_service_and_worker_parent_stay_without_torch():
    code = "import app.main, workers.celery_app, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
