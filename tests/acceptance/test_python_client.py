"""The client package against a real service: the whole way, blocking and not, and as a wheel."""

import asyncio
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import nbclient
import nbformat
import pytest

from secateur_client import AsyncClient, Client, JobFailedError, RefusedError
from tests.acceptance.test_kills import TINY
from tests.acceptance.test_par import JOB as ROUTER

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "prune.ipynb"


@pytest.fixture
def client(service):
    with Client(service.running.url, service.running.key) as made:
        yield made


def test_from_records_to_a_model(client, tmp_path):
    sentences = [{"text": f"sentence number {number}"} for number in range(8)]
    plan = client.plan("bert", method="wanda", sparsity=0.5, calibration=sentences)
    job = client.prune("bert", method="wanda", sparsity=0.5, calibration=sentences)
    assert job.wait(progress=True, timeout=120).result["zeros"] == plan["zeros"]
    events = list(job.events())
    assert events[-1]["data"]["status"] == "succeeded"
    assert [each["id"] for each in events] == sorted({each["id"] for each in events})
    assert list(job.events(after=events[-1]["id"])) == []
    model = job.load(tmp_path)
    assert sum((each == 0).sum().item() for each in model.parameters()) >= plan["zeros"]
    listed = {each["path"]: each["size"] for each in job.artifacts()}
    assert {path: (tmp_path / path).stat().st_size for path in listed} == listed
    assert job.id in [each.id for each in client.jobs.list(method="wanda", limit=1)]
    assert client.datasets.upload(sentences)["rows"] == 8
    assert "<html" in job.report()


def test_many_at_once_without_blocking(service, tmp_path):
    async def both():
        async with AsyncClient(service.running.url, service.running.key) as client:
            jobs = [await client.prune(**TINY | {"seed": seed}) for seed in (1, 2)]
            await asyncio.gather(*(job.wait(timeout=120) for job in jobs))
            folders = await asyncio.gather(*(job.download(tmp_path / job.id) for job in jobs))
            messages = [event["message"] async for event in jobs[0].events()]
            return folders, messages

    folders, messages = asyncio.run(both())
    assert all((folder / "manifest.json").exists() for folder in folders)
    assert messages


def test_packed_weights_arrive_as_they_are(client, service, tmp_path):
    job = client.prune("bert", method="magnitude", sparsity=0.5).wait(timeout=120)
    plain, packed = job.download(tmp_path / "plain"), job.download(tmp_path / "packed", packed=True)
    assert job.download(tmp_path / "packed", packed=True) == packed  # nothing is asked for again
    listed = [each["path"] for each in job.artifacts()]
    assert any(path.endswith(".safetensors") for path in listed)
    for path in listed:
        assert (plain / path).read_bytes() == (packed / path).read_bytes()
    assert not list(packed.rglob("*.pa*"))

    async def without_blocking():
        async with AsyncClient(service.running.url, service.running.key) as other:
            again = await other.jobs.get(job.id)
            return await again.download(tmp_path / "again", packed=True)

    again = asyncio.run(without_blocking())
    assert (again / listed[0]).read_bytes() == (plain / listed[0]).read_bytes()


def test_a_router_is_loaded_on_its_base_model(client, models, tmp_path):
    job = client.prune(**ROUTER).wait(timeout=240)
    with pytest.raises(OSError):  # noqa: PT011  a name of the service, not of this machine
        job.load(tmp_path)
    model = job.load(tmp_path, base=models / "loud-llava")
    assert model.par.profile is not None
    model.par.detach()
    model = job.load(tmp_path, base=models / "loud-llava", profile="balanced")
    model.par.detach()


def test_a_model_is_measured_as_it_is(client, service):
    assert "bert" in client.local_models()
    options = {"set": "sentences", "samples": 8}
    newest = client.prune("bert", method="magnitude", sparsity=0.5).id
    found = client.evaluate("bert", options, timeout=120)
    assert found["similarity"]["value"] == pytest.approx(1)
    assert next(iter(client.jobs.list())).id == newest, "it is deleted"

    async def without_blocking():
        async with AsyncClient(service.running.url, service.running.key) as other:
            return await other.local_models(), await other.evaluate("bert", options)

    models, again = asyncio.run(without_blocking())
    assert models == client.local_models()
    assert again == found


def test_a_sweep_has_a_best_job(client):
    sweep = client.sweep("bert", methods=["magnitude", "random"], sparsities=[0.5])
    assert sweep.wait(timeout=180).status == "succeeded"
    methods = {each["method"] for each in sweep.leaderboard()["standings"]}
    assert methods == {"magnitude", "random"}
    assert client.get_sweep(sweep.id).id == sweep.id


def test_what_is_wrong_is_an_exception(client):
    with pytest.raises(RefusedError) as caught:
        client.prune("bert", method="no-such-method", sparsity=0.5)
    assert caught.value.code
    assert caught.value.hint
    job = client.prune("bert", method="magnitude", sparsity=0.5).cancel()
    with pytest.raises(JobFailedError):
        job.wait(timeout=60)


TOUR = """
import sys
from secateur_client import Client

with Client() as client:
    job = client.prune(sys.argv[1], method="magnitude", sparsity=0.5).wait(timeout=120)
    assert (job.download(sys.argv[2]) / "config.json").exists()
assert not {"torch", "transformers", "numpy"} & set(sys.modules)
"""


def test_the_wheel_alone_is_enough(service, tmp_path):
    environment = os.environ | {
        "SECATEUR_URL": service.running.url,
        "SECATEUR_KEY": service.running.key,
    }
    environment.pop("PYTHONPATH", None)  # or pip takes the checkout for installed
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    source = ROOT / "clients" / "python"
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path]
    subprocess.run([*wheel, source], check=True, env=environment)
    [made] = tmp_path.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", made], check=True, env=environment)
    arguments = ["-I", "-W", "error", "-c", TOUR, "bert", str(tmp_path / "pruned")]
    subprocess.run([python, *arguments], check=True, env=environment, cwd=tmp_path, timeout=240)


def test_the_notebook_runs(service, monkeypatch, tmp_path):
    monkeypatch.setenv("SECATEUR_URL", service.running.url)
    monkeypatch.setenv("SECATEUR_KEY", service.running.key)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "clients" / "python"))
    text = (
        NOTEBOOK.read_text().replace("scenes-clip", "bert").replace("scene-captions", "sentences")
    )
    notebook = nbformat.from_dict(json.loads(text))
    nbclient.NotebookClient(notebook, timeout=180, kernel_name="python3").execute(cwd=tmp_path)
    assert "zeros" in str(notebook.cells[-1].outputs)
