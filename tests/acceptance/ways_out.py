"""How a user gets at the files of a job, and plain transformers in a clean process."""

import hashlib
import json
import os
import subprocess
import sys

GENERATE = """
import json, sys
import torch, transformers
transformers.logging.set_verbosity_error()
directory, prompt = sys.argv[1], torch.tensor(json.loads(sys.argv[2]))
kind = getattr(transformers, transformers.AutoConfig.from_pretrained(directory).architectures[0])
model, told = kind.from_pretrained(directory, output_loading_info=True)
assert not any(told.values()), told
made = model.generate(
    input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False
)
assert not {"app", "workers"} & sys.modules.keys()
size = sum(each.numel() for each in model.parameters())
print(json.dumps([size, made.tolist()]))
"""


def run(command, **surroundings):
    """Run a program to its end; returns what it says."""
    clean = {key: each for key, each in os.environ.items() if not key.startswith("HF_")}
    ran = subprocess.run(
        [str(each) for each in command],
        env=clean | {"NO_PROXY": "127.0.0.1"} | surroundings,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def digests(directory):
    """SHA-256 of every file, by path; what `hf` keeps for itself left out."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def secateur(service, *words):
    """The command line, as a user runs it."""
    access = ("--url", service.running.url, "--key", service.running.key)
    program = "from app.cli.main import app; app()"
    return run([sys.executable, "-c", program, *words, *access])


def bring(service, job_id, place):
    """Download a job's files file by file, packed and as from the hub; all have to be the same.

    Returns:
        The directory with them.
    """
    plain = service.download(job_id, place / "plain")
    expected = {each["path"]: each["sha256"] for each in service.artifacts(job_id)}
    assert digests(plain) == expected
    secateur(service, "download", job_id, place / "packed", "--packed")
    assert digests(place / "packed") == expected
    hub = {"HF_ENDPOINT": service.running.url, "HF_TOKEN": service.running.key}
    download = "from huggingface_hub.cli.hf import main; main()"
    words = ("download", f"jobs/{job_id}", "--local-dir", place / "hub")
    run([sys.executable, "-c", download, *words], HF_HOME=str(place / "home"), **hub)
    assert digests(place / "hub") == expected
    return plain


def generate(directory, prompt=((1, 5, 6, 7),)):
    """What plain transformers does with a checkpoint where nothing of ours is.

    Returns:
        How many parameters the model has, and the tokens it makes of the prompt.
    """
    words = [sys.executable, "-I", "-c", GENERATE, directory, json.dumps(prompt)]
    size, tokens = json.loads(run(words))
    assert len(tokens[0]) > len(prompt[0])
    return size, tokens
