"""download --packed: fewer bytes on the way, the same files at the end."""

import hashlib
import re

import httpx2
import pytest
import torch
from safetensors.torch import save, save_file

from app.cli.client import Client
from app.packed import unpack
from tests.integration.app.cli.downloads import contents, fetch_four_times_at_once


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pruned checkpoint as it is published, by path."""
    directory = tmp_path_factory.mktemp("packed")
    weight = torch.randn(2000, 600, generator=torch.Generator().manual_seed(0))
    weight[weight.abs() < 0.7] = 0
    save_file({"w": weight.bfloat16()}, directory / "model.safetensors")
    (directory / "sparse").mkdir()
    save_file({"mask": weight != 0}, directory / "sparse" / "masks.safetensors")
    (directory / "config.json").write_text("{}")
    return contents(directory)


@pytest.fixture
def finished(hand, job_id, files):
    hand.succeed(hand.claim(job_id), files)
    return job_id


@pytest.fixture
def asked(house):
    """Addresses of the files that were asked for since the test began."""
    log = house.settings.data_dir / "logs" / "api.log"
    start = log.stat().st_size

    def addresses():
        return sorted(re.findall(r"/((?:artifacts|packed)/\S+) \d", log.read_text()[start:]))

    return addresses


def partial_of(content, directory):
    digest = hashlib.sha256(content).hexdigest()
    return directory / f".model.safetensors.{digest[:12]}.partial"


def test_the_same_files_arrive(secateur, finished, files, tmp_path, asked):
    ran = secateur("download", finished, tmp_path / "out", "--packed")
    assert ran.exit_code == 0, ran.output
    assert contents(tmp_path / "out") == files
    weights = ["model.safetensors", "sparse/masks.safetensors"]
    assert asked() == ["artifacts/config.json", *(f"packed/{name}?start=0" for name in weights)]


def test_fewer_bytes_are_sent(house, finished, files):
    whole = len(files["model.safetensors"])
    with Client(house.url, house.key) as client:
        with client.packed(finished, "model.safetensors", 0) as response:
            compressed = sum(map(len, response.iter_raw()))
            assert response.headers["content-encoding"] == "zstd"
        with client.packed(finished, "model.safetensors", whole) as response:
            nothing = sum(map(len, response.iter_raw()))
    plain = httpx2.get(
        f"{house.url}/v1/jobs/{finished}/packed/model.safetensors",
        headers={"Authorization": f"Bearer {house.key}", "Accept-Encoding": "identity"},
        trust_env=False,
    )
    assert plain.content.startswith(unpack.MAGIC)
    assert nothing < 300 < compressed < len(plain.content) < 0.6 * whole


def test_what_is_there_is_not_sent_again(secateur, finished, files, tmp_path, asked):
    secateur("download", finished, tmp_path)
    before = asked()
    assert secateur("download", finished, tmp_path, "--packed").exit_code == 0
    assert asked() == before
    assert contents(tmp_path) == files


@pytest.mark.parametrize("share", [0.00001, 0.3, 0.95])
def test_an_interrupted_download_goes_on(secateur, finished, files, tmp_path, asked, share):
    content = files["model.safetensors"]
    have = round(share * len(content))
    partial_of(content, tmp_path).write_bytes(content[:have])
    assert secateur("download", finished, tmp_path, "--packed").exit_code == 0
    assert f"packed/model.safetensors?start={have}" in asked()
    assert contents(tmp_path) == files


def test_a_damaged_start_is_noticed_and_thrown_away(secateur, finished, files, tmp_path):
    content = files["model.safetensors"]
    partial_of(content, tmp_path).write_bytes(bytes(len(content) - 10))
    ran = secateur("download", finished, tmp_path, "--packed")
    assert ran.exit_code == 1
    assert "model.safetensors arrived damaged" in ran.stderr
    assert secateur("download", finished, tmp_path, "--packed").exit_code == 0
    assert contents(tmp_path) == files


def test_a_file_that_is_none_says_so(secateur, hand, job_id, tmp_path):
    cut = save({"w": torch.ones(1000)})[:-1]
    hand.succeed(hand.claim(job_id), {"model.safetensors": cut})
    ran = secateur("download", job_id, tmp_path, "--packed")
    assert ran.exit_code in {1, 4}
    assert not (tmp_path / "model.safetensors").exists()


def test_other_files_have_no_packed_form(house, finished):
    answer = httpx2.get(
        f"{house.url}/v1/jobs/{finished}/packed/config.json",
        headers={"Authorization": f"Bearer {house.key}"},
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "artifact_not_packable")


def test_several_at_once_end_with_whole_files(house, finished, files, tmp_path):
    fetch_four_times_at_once(house, finished, tmp_path, packed=True)
    assert contents(tmp_path) == files
