"""A process with a model: what it says, and how it ends when it hangs, dies or is not wanted."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch
import transformers
from safetensors.torch import save_file

from tests.families import BY_NAME
from workers.pipeline.context import StoppedError
from workers.pipeline.line_process import ProcessFaultError
from workers.pipeline.performance import process
from workers.pipeline.performance.process import ModelProcess


@pytest.fixture
def task(tmp_path):
    BY_NAME["llama"].build(tmp_path / "llama")
    save_file({"input_ids": torch.tensor([[1, 5, 6, 7]])}, tmp_path / "inputs.safetensors")
    return {
        "directory": str(tmp_path / "llama"),
        "inputs": str(tmp_path / "inputs.safetensors"),
        "answer": 3,
        "device": "cpu",
        "threads": 1,
        "memory": 1 << 34,
    }


def opened(task, seconds=120.0, check=lambda: None):
    return ModelProcess("result", task, deadline=time.monotonic() + seconds, check=check)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Puts other code in the place of the process's own."""

    def put(text):
        (tmp_path / "other_model_process.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(process, "_MODULE", "other_model_process")

    return put


def test_it_loads_once_and_runs_when_it_is_its_turn(task):
    with opened(task) as model:
        loaded = model.hear()
        first, second = model.turn(), model.turn()
        child = psutil.Process(model._process.pid)
    dense = transformers.LlamaForCausalLM.from_pretrained(task["directory"])
    tensors = [*dense.parameters(), *dense.buffers()]
    assert loaded["bytes"] == sum(each.nbytes for each in tensors)
    assert loaded["dtype"] == "float32"
    assert loaded["seconds"] == {}
    assert first["seconds"].keys() == second["seconds"].keys() == {"prefill", "decode"}
    assert second["peak"] >= first["peak"] > loaded["bytes"]
    assert not child.is_running()


def test_a_model_that_writes_nothing_is_run_once(task, tmp_path):
    BY_NAME["bert"].build(tmp_path / "bert")
    with opened(task | {"directory": str(tmp_path / "bert"), "answer": 0}) as model:
        model.hear()
        assert model.turn()["seconds"].keys() == {"encode"}


def test_it_sees_no_secret(script, monkeypatch, task):
    for name in ("SECATEUR_DATABASE__URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    script("import json, os\nprint(json.dumps(dict(os.environ)), flush=True)\ninput()\n")
    with opened(task) as model:
        seen = model.hear()
    assert seen["OMP_NUM_THREADS"] == seen["HF_HUB_OFFLINE"] == "1"
    assert not {"SECATEUR_DATABASE__URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & seen.keys()


def test_one_that_hangs_is_ended_when_the_time_is_over(script, task):
    script("import time\ntime.sleep(600)\n")
    with opened(task, 1.0) as model:
        child = psutil.Process(model._process.pid)
        with pytest.raises(ProcessFaultError, match="too long") as found:
            model.hear()
    assert found.value.fault == "timed_out"
    assert not child.is_running()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("raise SystemExit(3)", "failed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out_of_memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGALRM)", "timed_out"),
    ],
)
def test_one_that_dies_says_why(script, task, text, fault):
    script(text)
    with pytest.raises(ProcessFaultError) as found, opened(task) as model:
        model.hear()
    assert found.value.fault == fault


def test_one_that_died_between_turns_is_found_out(task):
    with opened(task) as model:
        model.hear()
        model._process.kill()
        model._process.wait()
        with pytest.raises(ProcessFaultError):
            model.turn()


def test_a_model_that_does_not_run_is_told_without_paths(task, tmp_path):
    (tmp_path / "llama" / "model.safetensors").unlink()
    with pytest.raises(ProcessFaultError) as found, opened(task) as model:
        model.hear()
    assert found.value.fault == "failed"
    assert str(tmp_path) not in str(found.value)


def test_one_without_memory_ends_alone_and_says_so(task):
    with pytest.raises(ProcessFaultError) as found, opened(task | {"memory": 1 << 20}) as model:
        model.hear()
    assert found.value.fault == "out_of_memory"


def test_a_cancelled_job_ends_it(script, task):
    def stop():
        raise StoppedError

    script("import time\ntime.sleep(600)\n")
    with opened(task, check=stop) as model:
        child = psutil.Process(model._process.pid)
        with pytest.raises(StoppedError):
            model.hear()
    assert not child.is_running()


def test_it_ends_by_itself_when_nobody_listens_any_more(task):
    command = [sys.executable, "-P", "-m", "workers.pipeline.performance"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [*command, json.dumps(task | {"seconds": 300})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    child.stdout.readline()
    child.stdin.close()
    assert child.wait(60) == 0
    child.stdout.close()


def test_what_it_has_started_ends_with_it(script, task):
    script(
        "import json, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(json.dumps({'pid': other.pid}), flush=True)\n"
        "time.sleep(600)\n"
    )
    with opened(task) as model:
        other = psutil.Process(model.hear()["pid"])
    gone, alive = psutil.wait_procs([other], timeout=10)
    assert (gone, alive) == ([other], [])


def test_what_it_says_is_bounded(script, task):
    script(
        "import sys\n"
        "sys.stderr.write('x' * (8 << 20))\n"
        "while True:\n    sys.stdout.write('y' * (1 << 16))\n"
    )
    with pytest.raises(ProcessFaultError, match="too much"), opened(task) as model:
        model.hear()
    assert len(model._said) <= 2000
