"""download --packed: fewer bytes on the way, the same files at the end."""

import re
import threading

import pytest
import torch
from safetensors.torch import save_file

from app.cli.client import Client, RefusedError, UnreachableError
from app.cli.download import DownloadError, download_bars, fetch_packed
from workers.pipeline.packing import pack_checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pruned checkpoint as it is published, by path."""
    directory = tmp_path_factory.mktemp("packed")
    weight = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    weight[weight.abs() < 0.7] = 0
    save_file({"w": weight.bfloat16()}, directory / "model.safetensors")
    pack_checkpoint(directory)
    save_file({"mask": weight != 0}, directory / "masks.safetensors")
    (directory / "config.json").write_text("{}")
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def finished(hand, job_id, files):
    hand.succeed(hand.claim(job_id), files)
    return job_id


@pytest.fixture
def sent(house):
    """Names of the files that were sent since the test began."""
    log = house.settings.data_dir / "logs" / "api.log"
    start = log.stat().st_size

    def names():
        paths = re.findall(r"/artifacts/(\S+)", log.read_text()[start:])
        return sorted(paths)

    return names


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def dense(files):
    return {name: content for name, content in files.items() if not name.startswith("packed/")}


def test_the_same_files_arrive(secateur, finished, files, tmp_path, sent):
    ran = secateur("download", finished, tmp_path / "packed", "--packed")
    assert ran.exit_code == 0, ran.output
    assert contents(tmp_path / "packed") == dense(files)
    assert not (tmp_path / "packed" / "packed").exists()
    weights = "packed/model.safetensors.packed"
    assert sent() == ["config.json", "masks.safetensors", weights]
    assert len(files[weights]) < 0.6 * len(files["model.safetensors"])


def test_without_it_the_packed_files_stay_away(secateur, finished, files, tmp_path):
    assert secateur("download", finished, tmp_path).exit_code == 0
    assert contents(tmp_path) == dense(files)


def test_what_is_there_is_not_sent_again(secateur, finished, files, tmp_path, sent):
    secateur("download", finished, tmp_path)
    before = sent()
    assert secateur("download", finished, tmp_path, "--packed").exit_code == 0
    assert sent() == before
    assert contents(tmp_path) == dense(files)


def test_a_damaged_file_is_replaced(secateur, finished, files, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    (tmp_path / ".model.safetensors.unpacked").write_bytes(b"cut off")
    assert secateur("download", finished, tmp_path, "--packed").exit_code == 0
    assert contents(tmp_path) == dense(files)


def test_packed_files_of_something_else_are_refused(secateur, hand, job_id, files, tmp_path):
    other = files | {"model.safetensors": files["masks.safetensors"]}
    hand.succeed(hand.claim(job_id), other)
    ran = secateur("download", job_id, tmp_path, "--packed")
    assert ran.exit_code == 1
    assert "model.safetensors.packed unpacked to something else" in ran.stderr
    assert not (tmp_path / "model.safetensors").exists()


def test_several_at_once_end_with_whole_files(house, finished, files, tmp_path):
    errors = []

    def one():
        try:
            with Client(house.url, house.key) as client, download_bars() as bars:
                fetch_packed(client, finished, tmp_path, bars)
        except (DownloadError, RefusedError, UnreachableError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert contents(tmp_path) == dense(files)
