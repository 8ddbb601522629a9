"""What is read of a model, on disk and on the hub, and how often the hub is asked."""

import json
import threading
import time

import pytest

from app.errors import ModelFilesError
from app.planning.model_files import outlines
from app.planning.model_files.files import HubModel, LocalModel
from app.planning.model_files.hub import HubUnavailableError
from app.planning.model_files.outlines import Outlines
from tests.integration.app.headers import SHAPES, write_header
from tests.integration.hub_server import hub_server

NAME = HubModel("org/small")


@pytest.fixture
def model(tmp_path):
    """A checkpoint on disk, whose header alone is longer than what is asked for first."""
    directory = tmp_path / "models" / "small"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llava"}))
    shapes = SHAPES | {f"model.long.{'x' * 900}.{number}": [1] for number in range(120)}
    write_header(directory / "model.safetensors", shapes)
    assert (directory / "model.safetensors").stat().st_size > 100_000
    return directory


@pytest.fixture
def hub(model):
    with hub_server() as server:
        server.repos["org/small"] = {file.name: file.read_bytes() for file in model.iterdir()}
        yield server


@pytest.fixture
def found(hub, model):
    return Outlines([model.parent], f"http://127.0.0.1:{hub.server_port}")


def asked(hub):
    return len(hub.requests)


def test_disk_and_hub_tell_the_same(found, hub):
    local, remote = found.of(LocalModel("small"), "p"), found.of(NAME, "p")
    assert dict(local.tensors) == dict(remote.tensors)
    assert local.config == remote.config == {"model_type": "llava"}
    assert len(local.tensors) == len(SHAPES) + 120


@pytest.mark.parametrize(("size", "requests"), [(99_999, 1), (100_000, 1), (100_001, 2)])
def test_a_header_longer_than_what_is_asked_for_first_takes_a_second_request(
    found, hub, size, requests
):
    """With the eight bytes of its length before it; no weights are read."""
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode().ljust(size - 8)
    file = (size - 8).to_bytes(8, "little") + header
    hub.repos["org/small"]["model.safetensors"] = file
    found.of(NAME, "p")
    asked_for = [path for _, path in hub.requests if path.endswith("model.safetensors")]
    assert len(asked_for) == requests


def test_files_are_read_again_once_one_has_changed(found, model, monkeypatch):
    now = time.time() + 60
    monkeypatch.setattr(outlines.time, "time", lambda: now)
    first = found.of(LocalModel("small"), "p")
    assert found.of(LocalModel("small"), "another") is first
    (model / "config.json").write_text(json.dumps({"model_type": "blip2"}))
    assert found.of(LocalModel("small"), "p").config == {"model_type": "blip2"}
    (model / "tokenizer.json").write_text("")
    assert "it is empty" in found.of(LocalModel("small"), "p").unreadable
    (model / "tokenizer.json").unlink()
    assert not found.of(LocalModel("small"), "p").unreadable
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelFilesError):
        found.of(LocalModel("small"), "p")


def test_files_that_have_just_changed_are_not_kept(found, model):
    """A second change may fall into the same tick of the file system's clock."""
    first = found.of(LocalModel("small"), "p")
    assert found.of(LocalModel("small"), "p") is not first


def test_a_link_that_leads_nowhere_is_no_file_of_the_model(found, model):
    (model / "notes.txt").symlink_to(model / "absent")
    assert found.of(LocalModel("small"), "p").config == {"model_type": "llava"}


def test_an_answer_counts_for_a_minute(found, hub, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(outlines.time, "monotonic", lambda: now[0])
    first = found.of(NAME, "p")
    count = asked(hub)
    now[0] += 59.9
    assert found.of(NAME, "another") is first
    assert asked(hub) == count
    now[0] += 0.2
    assert found.of(NAME, "p") == first
    assert asked(hub) > count


def test_so_does_a_refusal(found, hub):
    errors = []
    for _ in range(2):
        with pytest.raises(Exception, match="missing") as error:
            found.of(HubModel("org/missing"), "p")
        errors.append(str(error.value))
        count = asked(hub)
    assert errors[0] == errors[1]
    assert asked(hub) == count


def test_answers_are_kept_for_so_many_models_and_tensors(found, hub, monkeypatch):
    names = [HubModel(f"org/small-{number}") for number in range(3)]
    for name in names:
        hub.repos[name.repo_id] = hub.repos["org/small"]
    size = len(found.of(LocalModel("small"), "p").tensors)

    def is_known(name):
        count = asked(hub)
        found.of(name, "p")
        return asked(hub) == count

    monkeypatch.setattr(outlines, "_KEPT_TENSORS", 2 * size)
    for name in names[:2]:
        found.of(name, "p")
    assert is_known(names[0])
    assert is_known(names[1])
    found.of(names[2], "p")
    assert is_known(names[1])
    assert not is_known(names[0])
    monkeypatch.setattr(outlines, "_KEPT", 1)
    found.of(names[1], "p")
    assert not is_known(names[2])
    assert is_known(names[2])


def test_the_bounds_that_the_documentation_tells():
    assert (outlines._ASKING, outlines._ASKING_EACH, outlines._KEPT) == (12, 4, 64)


def test_a_project_may_have_so_many_questions_open_and_all_so_many(found, monkeypatch):
    monkeypatch.setattr(outlines, "_ASKING", 3)
    monkeypatch.setattr(outlines, "_ASKING_EACH", 2)
    go, inside = threading.Event(), threading.Semaphore(0)

    def slow(source):
        inside.release()
        assert go.wait(30)
        return outlines.Outline({}, {"of": source.repo_id})

    monkeypatch.setattr(found, "_ask", slow)

    def start(name, asker):
        thread = threading.Thread(target=found.of, args=(HubModel(name), asker))
        thread.start()
        assert inside.acquire(timeout=30)
        return thread

    threads = [start("org/1", "p"), start("org/2", "p")]
    with pytest.raises(HubUnavailableError):
        found.of(HubModel("org/3"), "p")
    threads.append(start("org/3", "q"))
    with pytest.raises(HubUnavailableError):
        found.of(HubModel("org/4"), "r")
    go.set()
    for thread in threads:
        thread.join(30)
    assert found.of(HubModel("org/4"), "p").config == {"of": "org/4"}
    assert not found._asking
