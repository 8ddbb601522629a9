"""The examples for Airflow and Kubeflow, run by their own tools against the running service."""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
AIRFLOW, PIPELINES = (ROOT / f".venv-{name}/bin/python" for name in ("airflow", "pipelines"))


def run(python, program, directory, **variables):
    """What a program prints, as JSON in its last line."""
    environment = os.environ | variables | {"no_proxy": "127.0.0.1", "PYTHONPATH": ""}
    argv = [python, "-W", "ignore", "-c", program]
    ran = subprocess.run(
        argv,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


KUBEFLOW = """
import json, os, runpy
from kfp import local
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="out")
prune = runpy.run_path(os.environ["EXAMPLE"])["prune"]
asked = {"url": os.environ["SERVICE"], "model": "bert", "method": "magnitude", "sparsity": 0.5}
made = [prune(**asked, run=run).outputs["pruned"] for run in ("run/prune", "run/prune", "other")]
print()
print(json.dumps([[each.path, each.metadata] for each in made]))
"""


@pytest.mark.skipif(
    not (PIPELINES.parents[1] / "installed").exists(),
    reason="`make .venv-pipelines/installed` was not run",
)
def test_the_component_of_kubeflow_prunes_once_for_each_run(service, tmp_path):
    variables = {
        "EXAMPLE": str(ROOT / "examples/kubeflow_pipeline.py"),
        "SERVICE": service.running.url,
        "SECATEUR_KEY": service.running.key,
    }
    made = run(PIPELINES, KUBEFLOW, tmp_path, **variables)
    jobs = [metadata["job"] for _, metadata in made]
    assert jobs[0] == jobs[1] != jobs[2]
    directory, metadata = made[0]
    assert metadata["sparsity"] == pytest.approx(0.5, abs=1e-3)
    weights = load_file(tmp_path / directory / "model.safetensors")
    assert weights
    sizes = {each["path"]: each["size"] for each in service.artifacts(jobs[0])}
    for path, size in sizes.items():
        assert (tmp_path / directory / path).stat().st_size == size


@pytest.fixture
def airflow(service, tmp_path):
    """What Airflow finds: a home of its own, the example as its only DAG, the service."""
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    example = (ROOT / "examples/airflow_dag.py").read_text()
    assert example.count('"minilm"') == example.count('"wanda"') == 1
    dag = example.replace('"minilm"', '"bert"').replace('"wanda"', '"magnitude"')
    (home / "dags/prune.py").write_text(dag.replace("poke_interval=10", "poke_interval=1"))
    where = urlsplit(service.running.url)
    connection = {"conn_type": "http", "host": where.hostname, "port": where.port, "schema": "http"}
    bearer = {"Authorization": f"Bearer {service.running.key}"}
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SECATEUR": json.dumps(connection | {"extra": bearer}),
    }


WHOLE = """
import json, subprocess, sys
from pathlib import Path
for words in ("db migrate", "dags reserialize", "dags test prune"):
    argv = [Path(sys.executable).with_name("airflow"), *words.split()]
    done = subprocess.run(argv, capture_output=True, text=True)
    sys.stderr.write(done.stdout + done.stderr)
    done.check_returncode()
from airflow.models import DagRun
from airflow.utils.session import create_session
with create_session() as session:
    [run] = session.query(DagRun).filter_by(dag_id="prune").all()
    states = {each.task_id: each.state for each in run.get_task_instances(session=session)}
print()
print(json.dumps([run.state, states]))
"""
# The task alone, as tries of one run, with the job ended in between.
TRIES = """
import json, os, runpy, urllib.request
from types import SimpleNamespace
dag = runpy.run_path(os.environ["AIRFLOW_HOME"] + "/dags/prune.py")["dag"]
submit = dag.get_task("submit").python_callable
ti = SimpleNamespace(dag_id="prune", run_id=os.environ["RUN"], task_id="submit", map_index=-1)
submit.__globals__["get_current_context"] = lambda: {"ti": ti}
print()
print(json.dumps([submit(), submit()]))
"""


def newest(service, count=1):
    jobs = service.http.get(f"/v1/jobs?limit={count}").json()["jobs"]
    return [each["id"] for each in jobs]


@pytest.mark.skipif(
    not (AIRFLOW.parents[1] / "installed").exists(),
    reason="`make .venv-airflow/installed` was not run",
)
def test_airflow_runs_the_dag_and_may_try_a_submit_again(service, airflow, tmp_path):
    before = newest(service)
    state, tasks = run(AIRFLOW, WHOLE, tmp_path, **airflow)
    assert (state, set(tasks.values())) == ("success", {"success"})
    assert tasks.keys() == {"submit", "ended", "fetch", "succeeded"}
    assert newest(service, 2)[1:] == before, "one job was made"
    first, again = run(AIRFLOW, TRIES, tmp_path, RUN="one", **airflow)
    assert first == again
    other, _ = run(AIRFLOW, TRIES, tmp_path, RUN="two", **airflow)
    assert other != first


@pytest.mark.skipif(
    not (AIRFLOW.parents[1] / "installed").exists(),
    reason="`make .venv-airflow/installed` was not run",
)
def test_a_submit_whose_job_has_failed_is_made_anew_once(service, airflow, tmp_path):
    dag = Path(airflow["AIRFLOW_HOME"]) / "dags/prune.py"
    # Whether an embedding is there is seen when the model is loaded.
    failing = '"sparsity": 0.5, "ignore": ["nowhere.embed*"]'
    dag.write_text(dag.read_text().replace('"sparsity": 0.5', failing))
    first, _ = run(AIRFLOW, TRIES, tmp_path, RUN="three", **airflow)
    assert service.finish(first)["status"] == "failed"
    second, again = run(AIRFLOW, TRIES, tmp_path, RUN="three", **airflow)
    assert second == again != first
