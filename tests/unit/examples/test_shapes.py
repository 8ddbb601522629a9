"""The examples that cannot run here have the shape that their tools ask for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_github_workflow_fits_its_schema():
    tool = Path(sys.executable).with_name("check-jsonschema")
    file = EXAMPLES / "github-action.yml"
    argv = [tool, "--builtin-schema", "vendor.github-workflows", file]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_airflow_dag_compiles():
    file = EXAMPLES / "airflow_dag.py"
    compile(file.read_text(), str(file), "exec")


def test_the_script_is_one_for_the_shell():
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("there is no POSIX shell here")
    subprocess.run([shell, "-n", EXAMPLES / "prune.sh"], check=True)
