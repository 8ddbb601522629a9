"""The files of `examples/new_criterion`, put in place in a copy of the code, make a whole job."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.families import BY_NAME

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/new_criterion"
PLACES = {
    "method.py": "app/recipes/methods/ria.py",
    "criterion.py": "workers/pruning/importance/ria.py",
    "page.md": "docs/methods/ria.md",
    "test.py": "tests/unit/workers/pruning/importance/test_ria.py",
}
JOB = """
import sys
from pathlib import Path
import httpx2
from app.local.installation import installation
from app.local.valkey import free_port
from app.settings import Settings

directory, models = map(Path, sys.argv[1:])
settings = Settings(data_dir=directory, models={"roots": (models,)}, api={"port": free_port()})
with installation(settings, report=print) as running:
    headers = {"Authorization": f"Bearer {running.key}"}
    with httpx2.Client(base_url=running.url, headers=headers, timeout=60, trust_env=False) as http:
        methods = {each["name"]: each for each in http.get("/v1/methods").json()["methods"]}
        assert methods["ria"]["recipe"]["importance"]["power"] == 0.5
        job = {"model": "bert", "sparsity": 0.5, "calibration": {"samples": 8, "max_length": 16}}
        named = job | {"method": "ria", "parameters": {"power": 1.0}}
        parts = {"allocation": {"kind": "pooled"}, "importance": {"kind": "ria", "power": 1.0}}
        plan = http.post("/v1/plans", json=named).json()
        assert plan["memory"]["stages"]["pruning"] > 0, plan
        for each in (named, job | {"recipe": parts}):
            answer = http.post("/v1/jobs", json=each)
            assert answer.status_code == 202, answer.text
            job_id = answer.json()["id"]
            for _ in range(20):
                found = http.get(f"/v1/jobs/{job_id}?wait=10").json()
                if found["status"] in {"succeeded", "failed"}:
                    break
                running.tend(0.05)
            assert found["status"] == "succeeded", found
            assert found["result"]["difference"] == 0, found
            print(found["method"], found["result"]["sparsity"])
"""


@pytest.fixture
def copy(tmp_path):
    for each in ("app", "workers", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / each, tmp_path / "code" / each, ignore=ignored)
    for file, place in PLACES.items():
        target = tmp_path / "code" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(EXAMPLE / file, target)
    return tmp_path / "code"


def run(copy, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(copy), "no_proxy": "127.0.0.1"}
    told = subprocess.run(
        [sys.executable, "-P", *arguments],
        env=environment,
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_four_files_are_all_there_is():
    assert {file.name for file in EXAMPLE.iterdir()} == {*PLACES, "README.md"}


def test_its_own_test_passes(copy):
    test = copy / PLACES["test.py"]
    assert "1 passed" in run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", test)


def test_a_whole_job_runs_by_it(copy, tmp_path):
    BY_NAME["bert"].build(tmp_path / "models" / "bert")
    # Short, and outside pytest's own directories: as root, PostgreSQL runs as another account.
    directory = Path(f"/tmp/secateur-ria-{os.getpid()}")
    try:
        told = run(copy, "-c", JOB, directory, tmp_path / "models", timeout=200)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    assert "ria 0.5" in told
    assert "recipe 0.5" in told
