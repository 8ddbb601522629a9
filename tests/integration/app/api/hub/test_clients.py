"""The real clients, unchanged, against a real server."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from app.db import models
from app.domain.projects import DEFAULT_PROJECT
from app.errors import ModelGatedError, ModelNotFoundError
from app.planning.model_files.files import HubModel
from workers.pipeline.sources import fetch

LOAD = """
import json, sys
import torch
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor
repo, directory = sys.argv[1:]
processor = AutoProcessor.from_pretrained(repo)
here = AutoModelForImageTextToText.from_pretrained(repo)
there = AutoModelForImageTextToText.from_pretrained(directory)
same = all(torch.equal(a, b) for a, b in zip(here.parameters(), there.parameters(), strict=True))
model = AutoModel.from_pretrained(repo)
print(json.dumps([type(processor).__name__, type(here).__name__, type(model).__name__, same]))
"""


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def run(command, environment):
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_transformers_loads_from_the_service(served, surroundings):
    ran = run([sys.executable, "-c", LOAD, served.repo, str(served.directory)], surroundings)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [
        "LlavaProcessor",
        "LlavaForConditionalGeneration",
        "LlavaModel",
        True,
    ]


def test_hf_download_brings_every_file(served, surroundings, tmp_path):
    hf = Path(sys.executable).with_name("hf")
    ran = run([hf, "download", served.repo, "--local-dir", tmp_path / "out"], surroundings)
    assert ran.returncode == 0, ran.stderr
    got = contents(tmp_path / "out")
    got.pop("manifest.json")
    assert got == contents(served.directory)


def test_a_snapshot_is_kept_by_its_commit(served, tmp_path):
    snapshot = snapshot_download(
        served.repo, endpoint=served.url, token=served.key, cache_dir=tmp_path
    )
    assert Path(snapshot).name == served.commit
    again = snapshot_download(
        served.repo,
        revision=served.commit,
        endpoint=served.url,
        token=served.key,
        cache_dir=tmp_path,
    )
    assert again == snapshot
    assert contents(snapshot).items() >= contents(served.directory).items()


def test_the_api_lists_files_and_folders(served):
    api = HfApi(served.url, token=served.key)
    paths = set(contents(served.directory)) | {"manifest.json"}
    assert set(api.list_repo_files(served.repo)) == paths
    assert api.model_info(served.repo).sha == served.commit
    top = {entry.path for entry in api.list_repo_tree(served.repo)}
    assert top == {path for path in paths if "/" not in path} | {"notes"}
    (note,) = api.list_repo_tree(served.repo, "notes")
    assert (note.path, note.size) == ("notes/read me.txt", 19)
    assert api.file_exists(served.repo, "config.json")
    assert not api.file_exists(served.repo, "pytorch_model.bin")
    assert api.revision_exists(served.repo, served.commit)
    assert not api.revision_exists(served.repo, "v7")


def test_a_model_is_a_repository_with_versions(served, engine, publish, tmp_path, monkeypatch):
    first = served.repo.removeprefix("jobs/")
    changed = tmp_path / "changed"
    shutil.copytree(served.directory, changed)
    (changed / "notes" / "read me.txt").write_text("the second version\n")
    second, manifest = publish(changed)
    with engine.begin() as connection:
        for job_id in (first, second):
            models.add_version(connection, DEFAULT_PROJECT, "captioner", job_id)
    told = {"endpoint": served.url, "token": served.key, "cache_dir": tmp_path / "cache"}
    api, repo = HfApi(served.url, token=served.key), "models/captioner"
    refs = api.list_repo_refs(repo)
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", manifest[:40])]
    assert {ref.name: ref.target_commit for ref in refs.tags} == {
        "v1": served.commit,
        "v2": manifest[:40],
    }
    stable = snapshot_download(repo, revision="v1", **told)
    assert Path(stable).name == served.commit
    assert contents(stable).items() >= contents(served.directory).items()
    for revision in ("main", "v2", manifest[:40]):
        path = hf_hub_download(repo, "notes/read me.txt", revision=revision, **told)
        assert Path(path).read_text() == "the second version\n"
    (info,) = api.get_paths_info(repo, "config.json", revision="v1")
    assert info.size == (served.directory / "config.json").stat().st_size
    assert [each.path for each in api.get_paths_info(repo, ["notes", "none"])] == ["notes"]
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(repo, "config.json", revision="v3", **told)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("models/other", "config.json", **told)
    monkeypatch.setenv("HF_TOKEN", served.key)
    files = fetch(HubModel(repo, "v1"), roots=(), hub_endpoint=served.url, hub_cache=tmp_path / "h")
    assert files.revision == served.commit


def download(served, path="config.json", **options):
    asked = {"repo_id": served.repo, "endpoint": served.url, "token": served.key} | options
    return hf_hub_download(filename=path, **asked)


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("config.json", {"token": "sct_wrong"}, GatedRepoError),
        ("config.json", {"token": False}, GatedRepoError),
        ("config.json", {"repo_id": "jobs/job_none"}, RepositoryNotFoundError),
        ("config.json", {"repo_id": "openai/clip"}, RepositoryNotFoundError),
        ("config.json", {"revision": "v7"}, RevisionNotFoundError),
        ("config.json", {"revision": "f" * 40}, RevisionNotFoundError),
        ("none.json", {}, RemoteEntryNotFoundError),
    ],
)
def test_clients_are_told_what_is_wrong(served, tmp_path, path, options, error):
    with pytest.raises(error):
        download(served, path, cache_dir=tmp_path, **options)
    if path == "config.json" and "revision" not in options:
        with pytest.raises(error):
            snapshot_download(
                cache_dir=tmp_path,
                endpoint=served.url,
                **{"repo_id": served.repo, "token": served.key} | options,
            )


def test_a_job_without_files_is_no_repository(served, unfinished, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        download(served, repo_id=f"jobs/{unfinished}", cache_dir=tmp_path)


class Cutter:
    """A proxy that breaks off the first answer it carries after so many bytes."""

    def __init__(self, port, after):
        self.upstream, self.after, self.requests = port, after, []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    def accept(self):
        while True:
            client, _ = self.listening.accept()
            with client, socket.create_connection(("127.0.0.1", self.upstream)) as server:
                request = client.recv(65536)
                if not request:
                    return
                self.requests.append(request.decode())
                server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                budget = self.after if len(self.requests) == 2 else 1 << 30
                while budget > 0 and (data := server.recv(min(budget, 65536))):
                    client.sendall(data)
                    budget -= len(data)

    def close(self):
        socket.create_connection(self.listening.getsockname()).close()
        self.thread.join()
        self.listening.close()


def test_a_broken_download_goes_on_where_it_stopped(served, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what is kept when it breaks
    weights = (served.directory / "model.safetensors").read_bytes()
    proxy = Cutter(int(served.url.rpartition(":")[2]), len(weights) // 2)
    try:
        path = download(served, "model.safetensors", endpoint=proxy.url, cache_dir=tmp_path)
    finally:
        proxy.close()
    assert Path(path).read_bytes() == weights
    ranges = [line for text in proxy.requests for line in text.splitlines() if "ange:" in line]
    assert [request.split()[0] for request in proxy.requests] == ["HEAD", "GET", "GET"]
    assert len(ranges) == 1
    assert 0 < int(ranges[0].split("=")[1].rstrip("-")) < len(weights)


def test_a_second_service_reads_jobs_of_the_first(served, tmp_path, monkeypatch):
    def get(repo, key):
        # The worker's token is read from HF_TOKEN when the request is made.
        monkeypatch.setenv("HF_TOKEN", key)
        hub = {"hub_endpoint": served.url, "hub_cache": tmp_path / key}
        return fetch(HubModel(repo), roots=(), **hub)

    files = get(served.repo, served.key)
    assert files.revision == served.commit
    weights = "model.safetensors"
    assert (files.directory / weights).read_bytes() == (served.directory / weights).read_bytes()
    with pytest.raises(ModelGatedError, match="HF_TOKEN"):
        get(served.repo, "sct_wrong")
    with pytest.raises(ModelNotFoundError):
        get("jobs/job_none", served.key)
