"""One stream with everything, and what a single file says about itself."""

import base64
import hashlib
import io
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest


@pytest.fixture
def http(served):
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False) as client:
        yield client


def test_the_archive_holds_every_file(served, http):
    job_id = served.repo.removeprefix("jobs/")
    answer = http.get(f"/v1/jobs/{job_id}/archive")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        got = {member.name: archive.extractfile(member).read() for member in archive}
    listed = http.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]
    assert got.keys() == {f"{job_id}/{file['path']}" for file in listed}
    for file in listed:
        content = got[f"{job_id}/{file['path']}"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_a_job_without_files_has_no_archive(http, unfinished):
    answer = http.get(f"/v1/jobs/{unfinished}/archive")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_a_range_carries_the_digest_of_the_whole_file(served, http):
    content = (served.directory / "model.safetensors").read_bytes()
    path = f"/v1/{served.repo}/artifacts/model.safetensors"
    part = http.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert part.headers["repr-digest"] == f"sha-256=:{digest}:"
    etag = part.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        assert http.get(path, headers={"If-None-Match": known}).status_code == 304
    assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_eight_ranges_at_once_make_the_file(served, http):
    content = (served.directory / "model.safetensors").read_bytes()
    path, step = f"/v1/{served.repo}/artifacts/model.safetensors", len(content) // 8 + 1

    def part(start):
        answer = http.get(path, headers={"Range": f"bytes={start}-{start + step - 1}"})
        assert answer.status_code == 206
        return answer.content

    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(part, range(0, len(content), step)))
    assert len(parts) == 8
    assert b"".join(parts) == content


def test_curl_resumes_by_range_and_if_range(served, tmp_path):
    content = (served.directory / "model.safetensors").read_bytes()
    url = f"{served.url}/v1/{served.repo}/artifacts/model.safetensors"
    part = tmp_path / "part"

    def curl(*options):
        key = ["--header", f"Authorization: Bearer {served.key}"]
        command = ["curl", "--silent", "--fail", "--noproxy", "*", *key, *options, url]
        return subprocess.run(command, capture_output=True, check=True).stdout

    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    assert curl("--range", "100-199") == content[100:200]
    assert curl("--range", "-50") == content[-50:]
    assert curl("--range", "100-199", "--header", f"If-Range: {etag}") == content[100:200]
    assert curl("--range", "100-199", "--header", 'If-Range: "other"') == content
    part.write_bytes(content[:1000])
    curl("--continue-at", "-", "--output", str(part))
    assert part.read_bytes() == content
