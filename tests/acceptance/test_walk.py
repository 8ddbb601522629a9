"""What the pages tell a newcomer to type does what they say."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

# A page is a dozen commands, some of which import torch.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
# What sets a machine up, serves until Ctrl-C or needs what tests do not have.
ELSEWHERE = ("make ", "secateur up", "docker", "vllm")
# No hub within reach.
HERE = {
    "hf:sentence-transformers/all-MiniLM-L6-v2": "minilm",
    "hf:llava-hf/llava-1.5-7b-hf": "llava",
}


def commands(page):
    """What a page has its reader type or run, in order; continued lines joined."""
    blocks = r"^```(console|sh|python)\n(.*?)^```"
    for kind, text in re.findall(blocks, (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
        if kind == "python":
            yield f"python -c {shlex.quote(text)}"
            continue
        for line in text.replace("\\\n", " ").splitlines():
            typed = line.removeprefix("$ ")
            if (kind == "sh" or typed != line) and not any(word in line for word in ELSEWHERE):
                yield typed


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
    surroundings |= {
        "KEY": service.running.key,
        "URL": service.running.url,
        "HF_HOME": str(tmp_path / "huggingface"),
        "no_proxy": "127.0.0.1",
    }

    def run(lines, job):
        text = "\n".join(line.replace("JOB", job) for line in lines)
        for there, here in HERE.items():
            text = text.replace(there, here)
        text = re.sub(r"(http://)?(localhost|127\.0\.0\.1):8321", service.running.url, text)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ran.returncode == 0, text + ran.stdout + ran.stderr
        return ran.stdout

    return run


def test_quickstart(type_in, service, tmp_path):
    lines = list(commands("docs/quickstart.md"))
    until = next(i for i, line in enumerate(lines) if " submit " in line) + 1
    said = type_in(lines[:until], "")
    job = re.search(r"job_\w+", said)[0]
    type_in(lines[until:], job)
    assert (tmp_path / "pruned/manifest.json").exists()
    assert service.job(job)["result"]["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_readme(type_in, service, tmp_path):
    done = service.submit(model="minilm", method="magnitude", sparsity=0.5)
    assert service.finish(done)["status"] == "succeeded"
    said = type_in(commands("README.md"), done)
    assert service.job(re.search(r"job_\w+", said)[0])["status"] == "succeeded"
    assert (tmp_path / "pruned/manifest.json").exists()


def test_a_vision_language_model_is_pruned_and_loaded(type_in):
    said = type_in(commands("docs/how-to/prune-llava.md"), "")
    job = re.search(r"job_\w+", said)[0]
    said = type_in(commands("docs/how-to/download.md"), job)
    assert "LlavaForConditionalGeneration" in said


def test_a_webhook_is_asked_for(type_in):
    assert "whsec_" in type_in(commands("docs/how-to/webhooks.md"), "")


def test_a_data_set_is_uploaded(type_in):
    assert "sha256:" in type_in(commands("docs/evaluation.md"), "")
