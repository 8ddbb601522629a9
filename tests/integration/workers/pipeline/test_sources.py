"""Models from the hub: the real client against a server that speaks enough of the hub's API."""

import pytest

from app.errors import (
    HubUnavailableError,
    ModelFilesError,
    ModelGatedError,
    ModelNotFoundError,
    ModelRevisionError,
    ModelSourceError,
    UnsafeWeightsError,
)
from app.planning.model_files.files import HubModel, LocalModel
from tests.integration.hub_server import COMMIT, hub_server
from workers.pipeline.sources import fetch


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def get(hub, tmp_path):
    def get(name, revision="main"):
        return fetch(
            HubModel(name, revision),
            roots=(),
            hub_endpoint=f"http://127.0.0.1:{hub.server_port}",
            hub_cache=tmp_path / "hub",
        )

    return get


@pytest.mark.parametrize("revision", ["main", "v1", COMMIT])
def test_a_model_arrives_with_its_commit(get, revision):
    files = get("org/good", revision)
    assert files.revision == COMMIT
    assert (files.directory / "model.safetensors").read_bytes() == b"weights"


def test_neither_pickles_nor_code_are_downloaded(get, hub):
    directory = get("org/good").directory
    arrived = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert arrived == {"config.json", "model.safetensors", "1_Pooling/config.json"}
    assert not [path for _, path in hub.requests if path.endswith((".bin", ".py"))]


def test_a_commit_is_downloaded_once_and_serves_while_the_hub_is_away(get, hub):
    first = get("org/good", "main")
    downloads = len([path for _, path in hub.requests if "/resolve/" in path])
    assert get("org/good", COMMIT) == first
    assert len([path for _, path in hub.requests if "/resolve/" in path]) == downloads
    hub.broken = True
    assert get("org/good", "main") == first


@pytest.mark.parametrize(
    ("name", "revision", "error"),
    [
        ("org/absent", "main", ModelNotFoundError),
        ("org/gated", "main", ModelGatedError),
        ("org/good", "v2", ModelRevisionError),
        ("org/pickled", "main", UnsafeWeightsError),
        ("org/empty", "main", ModelFilesError),
        ("org/no-config", "main", ModelFilesError),
        ("org--bad", "main", ModelSourceError),
    ],
)
def test_each_refusal_has_its_own_error(get, name, revision, error):
    with pytest.raises(error, match=f"hf:{name}"):
        get(name, revision)


def test_a_hub_that_is_out_of_order_may_be_asked_again(get, hub):
    hub.broken = True
    with pytest.raises(HubUnavailableError, match="hf:org/good cannot be read now"):
        get("org/good")


def test_a_hub_that_is_not_there_may_be_asked_again(tmp_path):
    with pytest.raises(HubUnavailableError):
        fetch(
            HubModel("org/good"),
            roots=(),
            hub_endpoint="http://127.0.0.1:9",
            hub_cache=tmp_path,
        )


def test_a_local_model_has_no_revision(tmp_path):
    (tmp_path / "tiny").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "tiny" / name).touch()
    files = fetch(LocalModel("tiny"), roots=(tmp_path,), hub_endpoint="", hub_cache=tmp_path)
    assert (files.directory, files.revision) == (tmp_path / "tiny", None)


def test_what_plans_read_and_exports_copy_is_downloaded_and_nothing_else(get, hub):
    index = b'{"weight_map": {"a": "one[1].safetensors", "b": "two.safetensors"}}'
    mine = {
        "config.json": b"{}",
        "model.safetensors.index.json": index,
        "one[1].safetensors": b"1",
        "two.safetensors": b"2",
        "source.spm": b"s",
        "README.md": b"# Card",
    }
    others = {"consolidated.safetensors": b"c", "adapter_model.safetensors": b"a", "x/y.json": b""}
    hub.repos["org/sharded"] = mine | others
    directory = get("org/sharded").directory
    arrived = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert arrived == set(mine)
