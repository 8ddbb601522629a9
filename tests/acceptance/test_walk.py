"""What README and quickstart tell a newcomer to type does what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What sets a machine up, serves until Ctrl-C or needs what tests do not have.
ELSEWHERE = ("make ", "secateur up", "hf download", "docker", "vllm", 'from_pretrained("jobs/')


def commands(page):
    """The command lines of a page's console blocks, continued lines joined."""
    for block in re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        text = block.replace("\\\n", " ")
        for line in text.splitlines():
            if line.startswith("$ ") and not any(word in line for word in ELSEWHERE):
                yield line.removeprefix("$ ")


@pytest.fixture
def type_in(service, models, tmp_path):
    """A shell in a directory that looks like a checkout beside the running service."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    (tmp_path / ".secateur").mkdir()
    (tmp_path / ".secateur/models").symlink_to(models)
    (tmp_path / ".secateur/key").write_text(service.running.key)
    surroundings = os.environ | service.running.settings.environment()
    surroundings["PATH"] = f"{Path(sys.executable).parent}:{surroundings['PATH']}"

    def run(lines, job):
        text = "\n".join(line.replace("JOB", job) for line in lines)
        # No hub within reach.
        text = text.replace("hf:sentence-transformers/all-MiniLM-L6-v2", "minilm")
        text = text.replace("localhost:8321", service.running.url.removeprefix("http://"))
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert ran.returncode == 0, text + ran.stdout + ran.stderr
        return ran.stdout

    return run


def test_quickstart(type_in, service, tmp_path):
    lines = list(commands("docs/quickstart.md"))
    until = next(i for i, line in enumerate(lines) if " submit " in line) + 1
    said = type_in(lines[:until], "")
    job = re.search(r"(job_\w+) succeeded", said)[1]
    type_in(lines[until:], job)
    assert (tmp_path / "pruned/manifest.json").exists()
    assert service.job(job)["result"]["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_readme(type_in, service):
    job = service.submit(model="minilm", method="magnitude", sparsity=0.5)
    assert service.finish(job)["status"] == "succeeded"
    said = type_in(commands("README.md"), job)
    assert '"status":"queued"' in said.replace('": "', '":"')
